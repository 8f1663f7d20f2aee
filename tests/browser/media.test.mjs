/**
 * Picture, sound and data through the daemon, with the published client libraries and nothing of ours in between.
 *
 * One host, one player, one spectator, each in a browser context of its own; then whatever can go wrong with a
 * connection. It is done over every pair of a way to signal, a way for media, and an origin: the page and the daemon
 * behind one nginx, or the page somewhere else. On two of the six ways it is measured for longer.
 */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { serveBarePage } from "./bare.mjs";
import {
  Cleanup,
  mintToken,
  openPage,
  progress,
  startBrowser,
  startDaemon,
  startNginx,
  stretched,
  until,
} from "./harness.mjs";

/** How long to watch, in milliseconds. */
const MEASURE = 5_000;
/** The same where nothing is measured. */
const LOOK = 1_500;
const TONE = 880;
const TONE_TOLERANCE = 15;
const MESSAGES = 500;
const DECODED_SHARE = 0.9;
const FIRST_FRAME = 500;
const LATE_JOINERS = 5;
/** How long media may stay away after ICE was restarted or transports were replaced. */
const RECOVERY = 5_000;

const cleanup = new Cleanup();
const say = progress("media");
let daemon;
let browser;
/** Where the page is, and what it signals with, by origin. */
let places;

before(async () => {
  daemon = await startDaemon(cleanup);
  say(`daemon on ${daemon.url}, media from port ${daemon.ports.media}`);
  const page = await serveBarePage(cleanup);
  const nginx = await startNginx(cleanup, daemon.url, page);
  places = { cross: { page, signaling: daemon.url }, same: { page: nginx, signaling: nginx } };
  browser = await startBrowser(cleanup);
  say(`Chromium ${browser.version()}`);
});
after(() => cleanup.run());

/** One user of the bare page. `do` runs a method of it. */
async function user(name, { origin, ...options }) {
  const place = places[origin];
  const opened = await openPage(browser, place.page, { name, viewport: { width: 700, height: 800 } });
  const { page } = opened;
  const run = (method, ...args) =>
    page
      .evaluate(([each, rest]) => window.bare[each](...rest), [method, args])
      .catch((error) => {
        throw new Error(
          `${name}.${method}: ${error.message}\n${opened.complaints.join("\n")}\n${daemon.log()}`,
        );
      });
  await page.waitForFunction(() => window.bare !== undefined);
  const { token } = await mintToken(daemon.url, name);
  await run("connect", { url: place.signaling, token, ...options });
  return { ...opened, run, engine: () => page.evaluate(() => window.bare.engine) };
}

/** How Engine.IO gets there, as an option of the library, and where that must end. */
const SIGNALING = {
  upgrade: { engine: "websocket" },
  websocket: { transports: ["websocket"], engine: "websocket" },
  polling: { transports: ["polling"], engine: "polling" },
};

/** Every value of every column meets every value of the others. */
const WAYS = [
  { signaling: "upgrade", protocol: "udp", origin: "same", measured: true },
  { signaling: "upgrade", protocol: "tcp", origin: "cross", measured: true },
  { signaling: "websocket", protocol: "udp", origin: "same" },
  { signaling: "websocket", protocol: "tcp", origin: "cross" },
  { signaling: "polling", protocol: "udp", origin: "cross" },
  { signaling: "polling", protocol: "tcp", origin: "same" },
];

test("the ways cover every pair", () => {
  const columns = {
    signaling: Object.keys(SIGNALING),
    protocol: ["udp", "tcp"],
    origin: ["same", "cross"],
  };
  for (const [one, values] of Object.entries(columns))
    for (const [other, others] of Object.entries(columns))
      if (one < other)
        for (const value of values)
          for (const another of others)
            assert.ok(
              WAYS.some((way) => way[one] === value && way[other] === another),
              `${value} never meets ${another}`,
            );
});

for (const { signaling, protocol, origin, measured = false } of WAYS) {
  const { transports, engine } = SIGNALING[signaling];
  const options = { origin, tcpOnly: protocol === "tcp", transports };
  const way = `${signaling}, ${protocol}, ${origin} origin`;
  const lateJoiners = measured ? LATE_JOINERS : 1;

  describe(`over ${way}`, { concurrency: false }, () => {
    const room = `Clock ${way}`;
    let host;
    let player;
    let spectator;

    before(async () => {
      [host, player, spectator] = await Promise.all(
        ["Host", "Player", "Spectator"].map((name) => user(name, options)),
      );
      await host.run("host", room);
      await Promise.all([player.run("join", room), spectator.run("join", room, { spectator: true })]);
      say(`${way}: host, player and spectator are in`);
    });
    after(() => Promise.all([host, player, spectator].map((each) => each?.context.close())));

    /** Until frames arrive again at these users. */
    const playing = (...users) =>
      Promise.all(
        users.map(async (each) => {
          const { framesDecoded } = await each.run("stats");
          await until(
            `${each.name} decodes`,
            async () => (await each.run("stats")).framesDecoded > framesDecoded + 5,
            RECOVERY,
          );
        }),
      );

    test("player and spectator decode what the host sends, and read its clock", async () => {
      await playing(player, spectator);
      const before = await Promise.all([host, player, spectator].map((each) => each.run("stats")));
      const seen = await Promise.all(
        [player, spectator].map((each) => each.run("watch", measured ? MEASURE : LOOK)),
      );
      const now = await Promise.all([host, player, spectator].map((each) => each.run("stats")));
      const sent = now[0].framesSent - before[0].framesSent;
      assert.ok(
        sent > (measured ? 100 : 20),
        `only ${sent} frames sent; the host thinks its line carries ${now[0].estimate} bit/s`,
      );
      assert.equal(now[0].codec, "video/VP9");
      for (const stats of now) {
        assert.ok(stats.protocols.length > 0, "no candidate pair is in use");
        assert.ok(
          stats.protocols.every((each) => each === protocol),
          `goes over ${stats.protocols}`,
        );
      }
      for (const [index, each] of [player, spectator].entries()) {
        const { frames, unreadable, p50, p95 } = seen[index];
        // In a short while, frames on their way count for much.
        const decoded = measured
          ? now[index + 1].framesDecoded - before[index + 1].framesDecoded
          : await until(
              `${each.name} decodes ${sent} frames`,
              async () => {
                const count = (await each.run("stats")).framesDecoded - before[index + 1].framesDecoded;
                return count >= sent * DECODED_SHARE ? count : null;
              },
              RECOVERY,
            );
        say(
          `${way}: ${each.name} decoded ${decoded} of ${sent} frames, read the clock on ${frames} ` +
            `(${unreadable} unreadable), picture age p50 ${p50} ms, p95 ${p95} ms`,
        );
        assert.ok(decoded >= sent * DECODED_SHARE, `${each.name} decoded ${decoded} of ${sent} frames`);
        // A busy machine skips the callbacks of some frames that it decodes.
        assert.ok(frames >= sent * (measured ? 0.5 : 0.2), `${each.name} read only ${frames} clocks`);
        assert.ok(unreadable <= frames * 0.02, `${each.name} could not read ${unreadable} clocks`);
        if (measured) assert.ok(p50 >= 0 && p50 < 500, `${each.name} sees a picture ${p50} ms old`);
      }
    });

    test("player and spectator hear the tone", async () => {
      for (const each of [player, spectator]) {
        const heard = await until(
          `${each.name} hears ${TONE} Hz`,
          async () => {
            const sound = await each.run("hear");
            return Math.abs(sound.frequency - TONE) <= TONE_TOLERANCE && sound.level > -40 ? sound : null;
          },
          RECOVERY,
        );
        say(`${way}: ${each.name} hears ${heard.frequency.toFixed(0)} Hz at ${heard.level.toFixed(0)} dB`);
      }
    });

    test("500 messages each way arrive, none lost, changed or doubled", async () => {
      await Promise.all([host, player].map((each) => each.run("forgetMessages")));
      const began = performance.now();
      await Promise.all([player.run("sendMessages", 0, MESSAGES), host.run("sendMessages", 0, MESSAGES)]);
      for (const each of [host, player]) {
        const counts = await until(
          `${each.name} has all messages`,
          async () => {
            const got = await each.run("receivedCounts");
            return got.good >= MESSAGES ? got : null;
          },
          10_000,
        ).catch(async (error) => {
          throw new Error(`${error.message}: ${JSON.stringify(await each.run("receivedCounts"))}`);
        });
        assert.deepEqual(counts, { good: MESSAGES, bad: 0, duplicates: 0 });
      }
      say(`${way}: ${2 * MESSAGES} messages in ${(performance.now() - began).toFixed(0)} ms`);
    });

    test("a late joiner sees its first frame within 500 ms of asking", async () => {
      const times = [];
      for (let index = 0; index < lateJoiners; index += 1) {
        const late = await user(`Late ${index}`, options);
        times.push(await late.run("timeToFirstFrame", room));
        await late.run("leave", room);
        await late.context.close();
      }
      say(`${way}: first frame after ${times.map((time) => time.toFixed(0)).join(", ")} ms`);
      const limit = stretched(FIRST_FRAME);
      assert.ok(Math.max(...times) <= limit, `first frame after ${times} ms, more than ${limit}`);
    });

    test("ICE restarts on every transport, and media goes on", async () => {
      const before = await Promise.all([host, player].map((each) => each.run("restartIce")));
      const after = await Promise.all([host, player].map((each) => each.run("restartIce")));
      const credentials = [...before, ...after].flat();
      assert.equal(new Set(credentials).size, credentials.length, "credentials were used twice");
      await playing(player, spectator);
      await until(
        "all transports are connected",
        async () => {
          const stats = await Promise.all([host, player].map((each) => each.run("stats")));
          return stats.every(({ states }) => states.every((state) => state === "connected"));
        },
        RECOVERY,
      );
      say(`${way}: ICE restarted ${credentials.length} times`);
    });

    test("a guest, then the host, replaces its transports, and media comes back", async () => {
      assert.deepEqual(await player.run("dropTransports"), { ok: true });
      await player.run("startWatching");
      await playing(player, spectator);
      say(`${way}: the player is back on new transports`);
      await host.run("dropTransports");
      await host.run("startHosting");
      await playing(player, spectator);
      await host.run("forgetMessages");
      await player.run("sendMessages", 1_000, 20);
      await until(
        "messages arrive again",
        async () => (await host.run("receivedCounts")).good === 20,
        RECOVERY,
      );
      say(`${way}: the host is back on new transports`);
    });

    test("a guest that is about to watch does not mind that another one goes", async () => {
      // What consumers share at the server must outlive the last of them while another is being set up.
      await player.run("dropTransports");
      await player.run("askToWatch");
      await spectator.run("dropTransports");
      await player.run("watchWhatWasAsked");
      await playing(player);
      await spectator.run("startWatching", { spectator: true });
      await playing(player, spectator);
    });

    test("signaling went over the transport it should", async () => {
      for (const each of [host, player, spectator]) assert.equal(await each.engine(), engine);
    });

    test("nothing was complained about", () => {
      for (const each of [host, player, spectator]) assert.deepEqual(each.complaints, []);
    });
  });
}

test("a host that sends two sizes of its picture is seen and heard", async () => {
  const [host, player] = await Promise.all(["Two", "Viewer"].map((name) => user(name, { origin: "same" })));
  await host.run("host", "Two sizes", { simulcast: true });
  await player.run("join", "Two sizes");
  await until(
    "the player decodes",
    async () => (await player.run("stats")).framesDecoded > 20,
    stretched(RECOVERY),
  );
  assert.equal((await host.run("stats")).codec, "video/VP8");
  await until("the player hears", async () => (await player.run("hear")).level > -40, RECOVERY);
  for (const each of [host, player]) {
    assert.deepEqual(each.complaints, []);
    await each.context.close();
  }
});
