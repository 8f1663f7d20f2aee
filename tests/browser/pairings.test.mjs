/**
 * Chromium and Firefox with each other: each as host and as viewer, with every codec that it sends or can show.
 *
 * A room for each host and codec, with a viewer of each browser in it, so that every pairing is met. One that a
 * browser has no codec for is skipped, and says so.
 */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { serveBarePage } from "./bare.mjs";
import { noFirefox, startFirefox } from "./firefox.mjs";
import {
  Cleanup,
  mintToken,
  openPage,
  progress,
  startBrowser,
  startDaemon,
  stretched,
  until,
} from "./harness.mjs";

const CODECS = ["VP8", "VP9", "H264", "AV1"];
const BROWSERS = ["Chromium", "Firefox"];
/** How long to watch, in milliseconds. */
const LOOK = 1_000;
const TONE = 880;
const TONE_TOLERANCE = 15;
const MESSAGES = 100;
/** How long anything may take that must happen. */
const SOON = 10_000;
const FIRST_FRAME = 2_000;

const cleanup = new Cleanup();
const say = progress("pairings");
const skip = noFirefox() ?? false;
const browsers = {};
/** What each browser sends and shows, by its name. */
const codecs = {};
let daemon;
let page;

before(async () => {
  if (skip) return;
  daemon = await startDaemon(cleanup);
  page = await serveBarePage(cleanup);
  [browsers.Chromium, browsers.Firefox] = await Promise.all([startBrowser(cleanup), startFirefox(cleanup)]);
  for (const name of BROWSERS) {
    codecs[name] = await codecsOf(name);
    const { send, receive } = codecs[name];
    say(
      `${name} ${browsers[name].version()} sends ${[...send].join(", ")} and shows ${[...receive].join(", ")}`,
    );
  }
});
after(() => cleanup.run());

async function codecsOf(name) {
  const opened = await openPage(browsers[name], page, { name });
  const lists = await opened.page.evaluate(() =>
    [RTCRtpSender, RTCRtpReceiver].map((each) =>
      each.getCapabilities("video").codecs.map(({ mimeType }) => mimeType.split("/")[1]),
    ),
  );
  await opened.context.close();
  const [send, receive] = lists.map((list) => new Set(CODECS.filter((codec) => list.includes(codec))));
  return { send, receive };
}

/** One user of the bare page in one of the browsers. `run` runs a method of it. */
async function user(browser, role) {
  const name = `${browser} ${role}`;
  const opened = await openPage(browsers[browser], page, { name, viewport: { width: 700, height: 800 } });
  const run = (method, ...args) =>
    opened.page
      .evaluate(([each, rest]) => window.bare[each](...rest), [method, args])
      .catch((error) => {
        throw new Error(
          `${name}.${method}: ${error.message}\n${opened.complaints.join("\n")}\n${daemon.log()}`,
        );
      });
  await opened.page.waitForFunction(() => window.bare !== undefined);
  const { token } = await mintToken(daemon.url, name);
  await run("connect", { url: daemon.url, token });
  return { ...opened, run };
}

/** Until frames arrive again at all of these. */
const playing = (users) =>
  Promise.all(
    users.map(async (each) => {
      const { framesDecoded } = await each.run("stats");
      await until(
        `${each.name} decodes`,
        async () => (await each.run("stats")).framesDecoded > framesDecoded + 5,
        SOON,
      );
    }),
  );

for (const hostBrowser of BROWSERS)
  for (const codec of CODECS)
    describe(`${hostBrowser} sends ${codec}`, { concurrency: false, skip }, () => {
      const room = `${hostBrowser} ${codec}`;
      let host;
      let viewers = [];

      /** A test that says why there is nothing to test, if so. */
      const paired = (what, work) =>
        test(what, async (t) => {
          if (!codecs[hostBrowser].send.has(codec))
            return t.skip(`this ${hostBrowser} has no encoder for ${codec}`);
          for (const browser of BROWSERS)
            if (!codecs[browser].receive.has(codec)) t.diagnostic(`this ${browser} cannot show ${codec}`);
          return work(t);
        });

      before(async () => {
        if (!codecs[hostBrowser].send.has(codec)) {
          say(`${room}: skipped, this ${hostBrowser} has no encoder for it`);
          return;
        }
        const able = BROWSERS.filter((browser) => codecs[browser].receive.has(codec));
        for (const browser of BROWSERS)
          if (!able.includes(browser))
            say(`${room}: skipped for viewers with ${browser}, which has no decoder`);
        host = await user(hostBrowser, "host");
        viewers = await Promise.all(able.map((browser) => user(browser, "viewer")));
        await host.run("host", room, { codec });
        await Promise.all(viewers.map((each) => each.run("join", room)));
        say(`${room}: all are in`);
      });
      after(() => Promise.all([host, ...viewers].map((each) => each?.context.close())));

      paired("viewers see the clock and hear the tone", async () => {
        await playing(viewers);
        for (const each of [host, ...viewers])
          assert.equal((await each.run("stats")).codec, `video/${codec}`);
        const seen = await Promise.all(viewers.map((each) => each.run("watch", LOOK)));
        for (const [index, { frames, unreadable, p50 }] of seen.entries()) {
          const { name } = viewers[index];
          say(`${room}: ${name} read ${frames} clocks (${unreadable} unreadable), age p50 ${p50} ms`);
          assert.ok(frames >= 5, `${name} read only ${frames} clocks`);
          assert.ok(unreadable <= frames * 0.05, `${name} could not read ${unreadable} clocks`);
        }
        for (const each of viewers)
          await until(
            `${each.name} hears ${TONE} Hz`,
            async () => {
              const { frequency, level } = await each.run("hear");
              return Math.abs(frequency - TONE) <= TONE_TOLERANCE && level > -40;
            },
            SOON,
          );
      });

      paired("100 messages from each to all others arrive, none lost, changed or doubled", async () => {
        const all = [host, ...viewers];
        await Promise.all(all.map((each) => each.run("forgetMessages")));
        await Promise.all(all.map((each, index) => each.run("sendMessages", index * MESSAGES, MESSAGES)));
        const expected = { good: (all.length - 1) * MESSAGES, bad: 0, duplicates: 0 };
        for (const each of all) {
          await until(
            `${each.name} has all messages`,
            async () => (await each.run("receivedCounts")).good >= expected.good,
            SOON,
          ).catch(async (error) => {
            throw new Error(`${error.message}: ${JSON.stringify(await each.run("receivedCounts"))}`);
          });
          assert.deepEqual(await each.run("receivedCounts"), expected);
        }
      });

      paired("late joiners see the picture at once, and leave", async () => {
        for (const { name } of viewers) {
          const late = await user(name.split(" ")[0], "late joiner");
          const time = await late.run("timeToFirstFrame", room);
          say(`${room}: ${late.name} saw its first frame after ${time.toFixed(0)} ms`);
          await late.run("leave", room);
          await late.context.close();
          assert.ok(time <= stretched(FIRST_FRAME), `first frame after ${time} ms`);
          assert.deepEqual(late.complaints, []);
        }
      });

      paired("ICE restarts everywhere, and picture and messages go on", async () => {
        await Promise.all([host, ...viewers].map((each) => each.run("restartIce")));
        await playing(viewers);
        await host.run("forgetMessages");
        await viewers[0].run("sendMessages", 1_000, 20);
        await until("messages arrive", async () => (await host.run("receivedCounts")).good === 20, SOON);
      });

      paired("a viewer leaves, and the others go on", async () => {
        const [leaving, ...staying] = viewers;
        await leaving.run("leave", room);
        await playing(staying);
        for (const each of [host, ...viewers]) assert.deepEqual(each.complaints, []);
      });
    });
