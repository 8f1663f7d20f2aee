/**
 * The page, used as people use it: names typed, buttons clicked, keys pressed, and pixels looked at. Once straight
 * from the daemon, with all it offers; once behind nginx, from a network that lets neither WebSockets nor UDP through.
 *
 * With UPDATE_SCREENSHOT=1 the picture in docs/images is taken anew.
 */

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import {
  Cleanup,
  ROOT,
  openPage,
  progress,
  startBrowser,
  startDaemon,
  startNginx,
  until,
  workersOf,
} from "./harness.mjs";

const ROOM = "Friday evening";
/** The field in game units, and where the right paddle's middle is. */
const FIELD = { width: 640, height: 360 };
const RIGHT_PADDLE = FIELD.width - 24 - 5;
/** Its colour, with what video compression does to it. */
const RIGHT_COLOUR = [255, 164, 92];
const COLOUR_TOLERANCE = 90;

const cleanup = new Cleanup();
const say = progress("page ");
let browser;

before(async () => {
  browser = await startBrowser(cleanup);
  say(`Chromium ${browser.version()}`);
});
after(() => cleanup.run());

/** Where the middle of the right paddle is in this canvas or video, in game units; null if it is not to be seen. */
function paddle({ page }, selector) {
  return page.evaluate(
    ([element, x, field, colour, tolerance]) => {
      const source = document.querySelector(element);
      const canvas = new OffscreenCanvas(field.width, field.height);
      const context = canvas.getContext("2d");
      context.drawImage(source, 0, 0, field.width, field.height);
      const { data } = context.getImageData(x, 0, 1, field.height);
      const rows = [];
      for (let y = 0; y < field.height; y += 1) {
        const off = colour.reduce((sum, level, channel) => sum + Math.abs(level - data[y * 4 + channel]), 0);
        if (off < tolerance) rows.push(y);
      }
      return rows.length < 20 ? null : rows.reduce((sum, y) => sum + y, 0) / rows.length;
    },
    [selector, RIGHT_PADDLE, FIELD, RIGHT_COLOUR, COLOUR_TOLERANCE],
  );
}

/** What a live number shows, or null while it shows none. */
async function number({ page }, id) {
  const text = await page.locator(`#${id}`).textContent();
  return /^[\d.]+$/.test(text) ? Number(text) : null;
}

const seesPicture = (each) =>
  until(`${each.name} sees the game`, async () => (await paddle(each, "#video")) !== null, 10_000);

/** What a strict network does to a page, as far as the page can tell. Runs in it, before its own scripts. */
function strictNetwork() {
  delete globalThis.WebSocket;
  const { setRemoteDescription } = RTCPeerConnection.prototype;
  RTCPeerConnection.prototype.setRemoteDescription = function ({ type, sdp }) {
    return setRemoteDescription.call(this, {
      type,
      sdp: sdp.replace(/^a=candidate:\S+ \d+ udp .*\r\n/gm, ""),
    });
  };
}

const WAYS = [
  { way: "straight from the daemon", media: "UDP" },
  { way: "behind nginx, by long-polling and TCP alone", strict: true, media: "TCP" },
];

for (const { way, strict = false, media } of WAYS) {
  describe(`an evening of netplay, ${way}`, { concurrency: false }, () => {
    /** Of this evening; those that all evenings share come after. */
    const cleanup = new Cleanup();
    let daemon;
    let address;
    let host;
    let player;
    let spectator;
    let websockets = 0;

    before(async () => {
      daemon = await startDaemon(cleanup);
      address = strict ? await startNginx(cleanup, daemon.url, daemon.url) : daemon.url;
      say(`${way}: ${address}`);
    });
    after(() => cleanup.run());

    /** Somebody who opens the page and types a name. */
    async function visitor(name) {
      const opened = await openPage(browser, address, { name, prepare: strict ? strictNetwork : undefined });
      cleanup.add(() => opened.context.close());
      opened.page.on("websocket", () => (websockets += 1));
      const { page } = opened;
      await page.getByLabel("Your name").fill(name);
      await page.keyboard.press("Enter");
      await page.getByRole("heading", { name: "Rooms" }).waitFor();
      return opened;
    }

    test("the host introduces itself and opens a room", async () => {
      host = await visitor("Ann");
      assert.equal(await host.page.locator("#who").textContent(), "Ann");
      await host.page.getByText("Nobody is playing yet").waitFor();
      await host.page.getByLabel("Room name").fill(ROOM);
      await host.page.getByRole("button", { name: "Open room" }).click();
      await host.page.getByRole("heading", { name: ROOM }).waitFor();
      await until("the host's paddle is painted", async () => (await paddle(host, "#canvas")) !== null);
      say("the room is open");
    });

    test("a player finds it in the list, joins, and sees the game", async () => {
      player = await visitor("Bob");
      await player.page.getByRole("button", { name: `Join ${ROOM}` }).click();
      await player.page.getByRole("heading", { name: ROOM }).waitFor();
      await player.page.getByText("Player 2", { exact: true }).first().waitFor();
      await seesPicture(player);
      await host.page.locator("#people").getByText("Bob").waitFor();
      say("the player sees the game");
    });

    test("a spectator watches, in a list that shows the room to everybody", async () => {
      spectator = await visitor("Eve");
      await spectator.page.getByText("2/4 players").waitFor();
      await spectator.page.getByRole("button", { name: `Watch ${ROOM}` }).click();
      await spectator.page.getByText("Watching", { exact: true }).waitFor();
      await seesPicture(spectator);
      say("the spectator sees the game");
    });

    test("keys the player holds move the paddle on the host's canvas and on everybody's screen", async () => {
      for (const [key, target] of [
        ["ArrowUp", 32],
        ["ArrowDown", FIELD.height - 32],
        ["KeyW", 32],
      ]) {
        await player.page.keyboard.down(key);
        const near = (position) => position !== null && Math.abs(position - target) < 12;
        await until(
          `${key} moves the paddle at the host`,
          async () => near(await paddle(host, "#canvas")),
          5_000,
        );
        await until(
          `${key} moves it for the player`,
          async () => near(await paddle(player, "#video")),
          2_000,
        );
        await until(
          `${key} moves it for the spectator`,
          async () => near(await paddle(spectator, "#video")),
          2_000,
        );
        await player.page.keyboard.up(key);
      }
      say("the paddle follows the player's keys");
    });

    test("a short press moves it a little, and the release arrives", async () => {
      await player.page.keyboard.press("ArrowDown", { delay: 120 });
      await sleep(300);
      const rest = await paddle(host, "#canvas");
      await sleep(300);
      assert.equal(await paddle(host, "#canvas"), rest);
      assert.ok(rest > 40 && rest < FIELD.height - 60, `it rests at ${rest}`);
    });

    test("a spectator's keys move nothing", async () => {
      const rest = await paddle(host, "#canvas");
      await spectator.page.keyboard.press("ArrowDown", { delay: 300 });
      await sleep(300);
      assert.equal(await paddle(host, "#canvas"), rest);
    });

    test("the numbers live", async () => {
      const shows = (each, id, low, high) =>
        until(
          `${each.name} shows ${id} between ${low} and ${high}`,
          async () => {
            const value = await number(each, id);
            return value !== null && value >= low && value <= high;
          },
          8_000,
        ).catch(async (error) => {
          throw new Error(`${error.message}, not ${await number(each, id)}`);
        });
      await player.page.keyboard.press("ArrowUp", { delay: 50 });
      await shows(player, "n-delay", 0.1, 250);
      await shows(player, "n-fps", 20, 75);
      await shows(player, "n-bitrate", 0.01, 10);
      await shows(player, "n-rtt", 0, 100);
      await shows(player, "n-loss", 0, 5);
      await shows(player, "n-freezes", 0, 10);
      await shows(host, "n-fps", 20, 75);
      await shows(host, "n-delay", 0, 250);
      await shows(spectator, "n-fps", 20, 75);
      const [fps, delay, roundTrip] = await Promise.all(
        ["n-fps", "n-delay", "n-rtt"].map((id) => number(player, id)),
      );
      say(`the player sees ${fps} fps, input delay ${delay} ms, round trip ${roundTrip} ms`);
    });

    test("signaling and media take the way there is", async () => {
      for (const each of [host, player, spectator])
        await each.page.locator("#n-more").getByText(media).waitFor();
      assert.equal(websockets > 0, !strict);
    });

    test("the game can be heard", async () => {
      // A sound is made on every hit and point, so within a few seconds there is one.
      const heard = await until(
        "the player's sound plays",
        () =>
          player.page.evaluate(async () => {
            const receiver = window.trioSfu.session.media.graph.consumers.find(
              ({ kind }) => kind === "audio",
            );
            const rows = [...(await receiver.getStats()).values()];
            return rows.find(({ type }) => type === "inbound-rtp")?.totalAudioEnergy > 1e-5;
          }),
        15_000,
      );
      assert.ok(heard);
      assert.equal(await player.page.locator("#audio").evaluate((audio) => audio.paused), false);
      assert.equal(await player.page.getByRole("button", { name: "Click to hear" }).isVisible(), false);
    });

    test("guests are told when the picture stands still, and see when it goes on", async () => {
      const told = player.page.getByText("The picture stands still");
      await host.page.evaluate(() => window.trioSfu.game.stop());
      await told.waitFor({ timeout: 8_000 });
      await host.page.evaluate(() => window.trioSfu.game.start());
      await told.waitFor({ state: "hidden", timeout: 8_000 });
    });

    test(
      "the picture is worth a thousand words",
      { skip: strict || process.env.UPDATE_SCREENSHOT !== "1" },
      async () => {
        await mkdir(join(ROOT, "docs/images"), { recursive: true });
        await player.page.setViewportSize({ width: 1360, height: 880 });
        await until(
          "the numbers are those of undisturbed play",
          async () => (await number(player, "n-fps")) >= 58,
          20_000,
        );
        // A moment with the ball in play, on its way from the middle.
        await until(
          "a good moment",
          () =>
            host.page.evaluate(() => {
              const { ball, phase } = window.trioSfu.game.state;
              return phase === "play" && Math.abs(ball.x - 320) > 90 && Math.abs(ball.x - 320) < 200;
            }),
          30_000,
          10,
        );
        await player.page.screenshot({ path: join(ROOT, "docs/images/page.png") });
        say("docs/images/page.png is new");
      },
    );

    test("seats can be changed: the spectator plays when the player watches", async () => {
      await player.page.getByLabel("Your seat").selectOption({ label: "Watch only" });
      await player.page.getByText("Watching", { exact: true }).waitFor();
      await spectator.page.getByLabel("Your seat").selectOption({ label: "Player 2" });
      await spectator.page.locator("#role").getByText("Player 2").waitFor();
      assert.equal(await spectator.page.evaluate(() => window.trioSfu.session.role), "player");
      await until(
        "the newcomer's keys work",
        async () => {
          await spectator.page.keyboard.press("ArrowDown", { delay: 700 });
          return (await paddle(host, "#canvas")) > FIELD.height - 60;
        },
        8_000,
      );
      await seesPicture(player);
      say("the spectator took over");
    });

    test("nothing was complained about so far", () => {
      for (const each of [host, player, spectator]) assert.deepEqual(each.complaints, []);
    });

    test("a player whose network drops is back by itself", async () => {
      await spectator.page.evaluate(() => window.trioSfu.session.networkChanged());
      await spectator.page.waitForFunction(() => window.trioSfu.session.media.state === "connected");
      await spectator.context.setOffline(true);
      await spectator.page.evaluate(() => window.dispatchEvent(new Event("offline")));
      await until("the page knows that it is offline", async () =>
        spectator.page.evaluate(() => window.trioSfu.session.link !== "connected"),
      );
      await spectator.context.setOffline(false);
      await until(
        "the session is back",
        () => spectator.page.evaluate(() => window.trioSfu.session.state === "room"),
        15_000,
      );
      await seesPicture(spectator);
      assert.equal(await spectator.page.evaluate(() => window.trioSfu.session.slot), 1);
      say("the spectator is back after a lost link");
    });

    /** Whether frames were decoded since the last time this was asked. */
    const decoding = async (each, memory) => {
      const frames = await each.page.evaluate(async () => {
        const video = window.trioSfu.session.media?.graph?.consumers.find(({ kind }) => kind === "video");
        const rows = video === undefined ? [] : [...(await video.getStats()).values()];
        return rows.find(({ type }) => type === "inbound-rtp")?.framesDecoded ?? 0;
      });
      const before = memory.frames;
      memory.frames = frames;
      return before !== undefined && frames > before;
    };

    /** For a failure's message: what the session of one page is up to. */
    const condition = (each) =>
      each.page.evaluate(() => {
        const { session } = window.trioSfu;
        const graph = session.media?.graph;
        return {
          state: session.state,
          link: session.link,
          media: session.media?.state,
          counters: session.media?.counters,
          transports: graph?.transports.map(({ direction, connectionState, id }) => [
            direction,
            connectionState,
            id,
          ]),
          producers: graph?.producers.map(({ kind, id }) => [kind, id]),
          consumers: graph?.consumers.map(({ kind, producerId, closed }) => [kind, producerId, closed]),
        };
      });

    /** Until both guests decode again, on media built after `builds`. */
    const recovered = async (builds, timeout) => {
      for (const each of [host, player, spectator]) {
        const built = () => each.page.evaluate(() => window.trioSfu.session.media?.counters.builds ?? 0);
        await until(
          `${each.name} built its media anew`,
          async () => (await built()) > builds.get(each),
          timeout,
        );
      }
      for (const each of [player, spectator]) {
        const memory = {};
        await until(`${each.name} sees the game move again`, () => decoding(each, memory), timeout).catch(
          async (error) => {
            throw new Error(
              `${error.message}\n${JSON.stringify(await Promise.all([host, each].map(condition)))}`,
            );
          },
        );
      }
    };

    const builds = async () => {
      const counts = new Map();
      for (const each of [host, player, spectator]) {
        counts.set(each, await each.page.evaluate(() => window.trioSfu.session.media.counters.builds));
      }
      return counts;
    };

    test("when the media workers die, everybody is back on new ones", async () => {
      const before = await builds();
      const began = performance.now();
      for (const pid of await workersOf(daemon)) process.kill(pid, "SIGKILL");
      await recovered(before, 10_000);
      await seesPicture(player);
      say(`back ${((performance.now() - began) / 1_000).toFixed(1)} s after the workers were killed`);
    });

    test("when the daemon is restarted, the host opens the room again and the guests come back", async () => {
      const before = await builds();
      const began = performance.now();
      await daemon.stop();
      const stopped = performance.now();
      daemon = await startDaemon(cleanup, daemon.ports);
      const started = performance.now();
      await recovered(before, 20_000);
      await seesPicture(player);
      await seesPicture(spectator);
      assert.equal(await host.page.evaluate(() => window.trioSfu.session.role), "host");
      const seconds = (from, to) => ((to - from) / 1_000).toFixed(1);
      say(
        `stopped in ${seconds(began, stopped)} s, started in ${seconds(stopped, started)} s, ` +
          `back ${seconds(started, performance.now())} s later`,
      );
    });

    test("a wrong password is refused in words, the right one lets in", async () => {
      const owner = await visitor("Dan");
      await owner.page.getByLabel("Room name").fill("Members only");
      await owner.page.locator("#open-form").getByLabel("Password").fill("swordfish");
      await owner.page.getByRole("button", { name: "Open room" }).click();
      await owner.page.getByRole("heading", { name: "Members only" }).waitFor();
      const member = await visitor("Kim");
      const enter = async (password) => {
        await member.page.getByRole("button", { name: "Watch Members only" }).click();
        await member.page.locator("#password-form").getByLabel("Password").fill(password);
        await member.page.keyboard.press("Enter");
      };
      await enter("sturgeon");
      await member.page.getByText("That is not the room's password").waitFor();
      await enter("swordfish");
      await member.page.getByRole("heading", { name: "Members only" }).waitFor();
      await member.context.close();
      await owner.page.getByRole("button", { name: "Leave room" }).click();
      await owner.page.getByRole("heading", { name: "Rooms" }).waitFor();
      await owner.context.close();
      say("passwords work");
    });

    test("a host may send a small picture beside the large one, and is seen", { skip: strict }, async () => {
      const owner = await visitor("Pat");
      await owner.page.getByLabel("Room name").fill("Two sizes");
      await owner.page.getByLabel("Send a small picture too").check();
      await owner.page.getByRole("button", { name: "Open room" }).click();
      await owner.page.getByRole("heading", { name: "Two sizes" }).waitFor();
      const member = await visitor("Lou");
      await member.page.getByRole("button", { name: "Watch Two sizes" }).click();
      await seesPicture(member);
      const widths = await until("both sizes are sent", () =>
        owner.page.evaluate(async () => {
          const video = window.trioSfu.session.media.graph.producers.find(({ kind }) => kind === "video");
          const rows = [...(await video.getStats()).values()].filter(({ type }) => type === "outbound-rtp");
          const wide = rows.map(({ frameWidth = 0 }) => frameWidth).sort((a, b) => a - b);
          return wide.length === 2 && wide.every((width) => width > 0) ? wide : null;
        }),
      );
      assert.equal(widths[1], 2 * widths[0]);
      await member.context.close();
      await owner.context.close();
      say(`two sizes, ${widths.join(" and ")} wide`);
    });

    test("a name in use is kept for its owner", async () => {
      const second = await visitor("Ann");
      assert.notEqual(await second.page.locator("#who").textContent(), "Ann");
      await second.context.close();
    });

    test("when the host leaves, the others are told and find themselves among the rooms", async () => {
      await host.page.getByRole("button", { name: "Leave room" }).click();
      for (const each of [player, spectator]) {
        await each.page.getByText("The host has left").waitFor();
        await each.page.getByRole("heading", { name: "Rooms" }).waitFor();
      }
      await host.page.getByText("Nobody is playing yet").waitFor();
      say("the evening is over");
    });
  });
}
