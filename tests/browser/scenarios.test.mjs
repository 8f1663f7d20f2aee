/**
 * Chromium on bad networks: each scenario of tests/scenarios.json through the relay, compared with the same users
 * unimpaired right before. The virtual network holds the same table (tests/media/test_scenarios.py).
 *
 * Every user has a line of its own, its leg, and each scenario impairs that of one.
 */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { serveBarePage } from "./bare.mjs";
import {
  Cleanup,
  ROOT,
  mintToken,
  openPage,
  progress,
  startBrowser,
  startDaemon,
  stretched,
  until,
} from "./harness.mjs";
import { startRelay } from "./relay.mjs";

const SCENARIOS = JSON.parse(await readFile(`${ROOT}tests/scenarios.json`, "utf8"));
/** How long to look, in milliseconds. */
const PLAIN = 1_500;
const IMPAIRED = 3_000;
/** Seconds until an impairment has its full effect. */
const SETTLE = 0.8;
/** A pause between frames that is longer than this is a freeze, in milliseconds. */
const FREEZE = 500;
/** The picture goes on once it did so for this long. */
const STEADY = 1_000;
/** Most bits a second of the host's two sizes, the smaller well below what a narrow line carries. */
const SIZES = [1_500_000, 250_000];
const INPUT_INTERVAL = 1_000 / 60;

const cleanup = new Cleanup();
const say = progress("scenarios");
let daemon;
let page;
let browser;
let relay;

before(async () => {
  process.env.SFU_WORKER_COUNT = "1"; // one media port, so that a leg needs no more than one way to it
  daemon = await startDaemon(cleanup);
  page = await serveBarePage(cleanup);
  browser = await startBrowser(cleanup);
  relay = startRelay(cleanup);
  say(`daemon on ${daemon.url}, Chromium ${browser.version()}`);
});
after(() => cleanup.run());

/** One user of the bare page, whose media takes a leg of its own. */
async function user(name, options = {}) {
  const leg = await relay.leg(daemon.ports.media);
  const opened = await openPage(browser, page, { name, viewport: { width: 700, height: 800 } });
  const run = (method, ...args) =>
    opened.page
      .evaluate(([each, rest]) => window.bare[each](...rest), [method, args])
      .catch((error) => {
        throw new Error(`${name}.${method}: ${error.message}\n${opened.complaints.join("\n")}`);
      });
  await opened.page.waitForFunction(() => window.bare !== undefined);
  const { token } = await mintToken(daemon.url, name);
  await run("connect", { url: daemon.url, token, via: leg.ports, ...options });
  return { ...opened, run, leg };
}

const decoding = (viewer) =>
  until(
    `${viewer.name} decodes`,
    async () => (await viewer.run("stats")).framesDecoded > 30,
    stretched(10_000),
  );

/** The largest that a user's picture has of something: a host may send several sizes. */
const most = async (user, name) =>
  Math.max(0, ...(await user.run("pictureStats")).map((stats) => stats[name] ?? 0));

/** What the browsers and the relay counted, to find out why something does not hold. */
const because = async (...users) => {
  const lines = users.map(async (each) => {
    const counted = { picture: await each.run("pictureStats"), line: await each.leg.stats() };
    return `\n${each.name} ${JSON.stringify(counted)}`;
  });
  return (await Promise.all(lines)).join("");
};

const bothWays = (impairment) => ({ up: impairment, down: impairment });

/** Pauses between frames, [when it ended, how long it was] in milliseconds, the one that goes on included. */
function pauses(times, began, now) {
  const moments = [began, ...times.filter((time) => time > began), now];
  return moments.slice(1).map((time, index) => [time, time - moments[index]]);
}

const longest = (all) => Math.max(...all.map(([, length]) => length));

/**
 * Look for a while: frames drawn by the host and decoded by the viewer, and the longest pause between two in
 * milliseconds. A busy machine draws fewer, so the share is what can be compared.
 */
async function look(host, viewer, milliseconds) {
  await viewer.run("noteFrames");
  const counts = () => Promise.all([most(host, "frames"), most(viewer, "framesDecoded")]);
  const began = Date.now();
  const before = await counts();
  await sleep(milliseconds);
  const now = Date.now();
  const [drawn, decoded] = (await counts()).map((count, index) => count - before[index]);
  const pause = longest(pauses(await viewer.run("frameTimes"), began, now));
  return { drawn, decoded, share: decoded / drawn, pause };
}

const looked = ({ decoded, drawn, pause }) =>
  `${decoded} of ${drawn} frames, longest pause ${pause.toFixed(0)} ms`;

/** After an event at `began` that was over at `ended`: how long after that the last freeze ended. */
async function recovery(viewer, began, ended, patience) {
  const lastFreeze = async () => {
    const now = Date.now();
    const freezes = pauses(await viewer.run("frameTimes"), began, now).filter(
      ([, length]) => length > FREEZE,
    );
    const last = Math.max(ended, ...freezes.map(([time]) => time));
    return now - last >= STEADY ? { after: last - ended } : null;
  };
  return (await until(`${viewer.name} sees the picture go on`, lastFreeze, patience + STEADY, 100)).after;
}

/** A percentile of the ages of inputs, in milliseconds. */
function ageAt(inputs, share) {
  const ages = inputs.map(([made, came]) => came - made).sort((a, b) => a - b);
  return ages[Math.min(Math.floor(ages.length * share), ages.length - 1)];
}

/**
 * Inputs both ways between player and host for a while, of each when it was made and came. The viewer, whose line is
 * good, gets the host's as well: the control.
 */
async function exchange({ host, player, viewer }, milliseconds) {
  await Promise.all([host, player, viewer].map((each) => each.run("expectInputs")));
  const [fromHost, fromPlayer] = [0, 1];
  const counts = await Promise.all([
    host.run("sendInputs", milliseconds, fromHost),
    player.run("sendInputs", milliseconds, fromPlayer),
  ]);
  const received = (receiver, sender) =>
    until(
      `all inputs reach the ${receiver.name}`,
      async () => {
        const got = (await receiver.run("inputTimes")).filter(([, , from]) => from === sender);
        return got.length >= counts[sender] ? got : null;
      },
      5_000,
    );
  return {
    toPlayer: await received(player, fromHost),
    toHost: await received(host, fromPlayer),
    control: await received(viewer, fromHost),
  };
}

const ages = (inputs) => `p50 ${ageAt(inputs, 0.5).toFixed(0)} ms, p99 ${ageAt(inputs, 0.99).toFixed(0)} ms`;

/**
 * What a scenario may promise, and how each is held. `impaired` is whose line it is, `viewer` who looks, `what` the
 * name to report under.
 */
const PROMISES = {
  async input({ up, down, holds }, users, what) {
    await users.impaired.leg.impair({ up, down });
    const { toPlayer, toHost, control } = await exchange(users, 2 * IMPAIRED);
    say(`${what}: to the player, where we send: ${ages(toPlayer)} (viewer, unimpaired: ${ages(control)})`);
    say(`${what}: to the host, where the browser sends: ${ages(toHost)}`);
    const { roundTrips, intervals } = holds.input;
    const allowed = roundTrips * (up.delay + down.delay) * 1_000 + intervals * INPUT_INTERVAL;
    // A repeated input has passed three times through what a busy machine delays: lost, missed, sent again.
    const limit = allowed + 3 * ageAt(control, 0.99);
    const p99 = ageAt(toPlayer, 0.99);
    assert.ok(p99 <= limit, `p99 of an input's age is ${p99} ms, more than ${limit}`);
  },

  async inputRecovery({ up, down, holds }, users, what) {
    const ended = (await users.impaired.leg.impair({ up, down })) + up.outages[0][1] * 1_000;
    const { toPlayer, toHost } = await exchange(users, ended - Date.now() + PLAIN);
    const [player, host] = [toPlayer, toHost].map(
      (got) => Math.min(...got.filter(([made]) => made >= ended).map(([, came]) => came)) - ended,
    );
    say(
      `${what}: an input reaches the player ${player} ms after its end, the host, from the browser, ${host} ms`,
    );
    const limit = stretched(holds.inputRecovery * 1_000);
    assert.ok(player <= limit, `it took ${player} ms, more than ${limit}`);
  },

  async recovery({ up, down, rebind, holds }, { impaired, host, viewer }, what) {
    await viewer.run("noteFrames");
    const at = await impaired.leg.impair({ up, down });
    let [began, ended] = (up.outages?.[0] ?? [0, 0]).map((time) => at + time * 1_000);
    if (rebind !== undefined) {
      await sleep(rebind * 1_000);
      began = ended = await impaired.leg.rebind();
    }
    await sleep(Math.max(0, ended - Date.now()));
    const limit = stretched(holds.recovery * 1_000);
    const took = await recovery(viewer, began, ended, 2 * limit).catch(async (error) => {
      throw new Error(error.message + (await because(host, viewer)));
    });
    say(`${what}: the picture is steady ${took.toFixed(0)} ms after its end`);
    if (took > limit) assert.fail(`it took ${took} ms, more than ${limit}${await because(host, viewer)}`);
  },

  async frames({ up, down, holds, settle = SETTLE }, { impaired, host, viewer }, what) {
    const plain = await look(host, viewer, PLAIN);
    await impaired.leg.impair({ up, down });
    await sleep(settle * 1_000);
    const bad = await look(host, viewer, IMPAIRED);
    say(`${what}: ${looked(bad)} (unimpaired ${looked(plain)})`);
    const wanted = holds.frames * Math.min(plain.share, 1);
    if (bad.share < wanted)
      assert.fail(`${bad.share} of the frames, less than ${wanted}${await because(host, viewer)}`);
    const limit = Math.max(stretched(holds.freeze * 1_000), 2 * plain.pause);
    if (bad.pause > limit)
      assert.fail(`a pause of ${bad.pause} ms, more than ${limit}${await because(host, viewer)}`);
  },
};

/** Hold what a scenario promises, and leave the line unimpaired. */
async function hold(scenario, users) {
  const what = `${scenario.leg}: ${scenario.name}`;
  try {
    for (const [promise, keep] of Object.entries(PROMISES))
      if (promise in scenario.holds) await keep(scenario, users, what);
  } finally {
    await users.impaired.leg.impair(bothWays({}));
  }
}

describe("over UDP, of the line of", { concurrency: false }, () => {
  const room = "Bad networks";
  let users;

  before(async () => {
    const [host, viewer, player] = await Promise.all(["Host", "Viewer", "Player"].map((name) => user(name)));
    users = { host, viewer, player };
    await host.run("host", room);
    await viewer.run("join", room, { spectator: true });
    await player.run("join", room, { picture: false });
    await decoding(viewer);
  });
  after(() => Promise.all(Object.values(users ?? {}).map((each) => each.context.close())));

  for (const scenario of SCENARIOS.filter(({ protocol, layers }) => protocol !== "tcp" && !layers))
    test(`${scenario.leg}: ${scenario.name}`, { todo: scenario.pending }, () =>
      hold(scenario, { ...users, impaired: users[scenario.leg] }),
    );

  for (const scenario of SCENARIOS.filter(({ protocol }) => protocol === "tcp"))
    test(`${scenario.leg}: ${scenario.name}`, { todo: scenario.pending }, async () => {
      const viewer = await user("Over TCP", { tcpOnly: true });
      await viewer.run("join", room, { spectator: true });
      await decoding(viewer);
      await hold(scenario, { ...users, viewer, impaired: viewer });
      await viewer.context.close();
    });
});

describe("several sizes, of the line of", { concurrency: false }, () => {
  for (const scenario of SCENARIOS.filter(({ layers }) => layers))
    test(`${scenario.leg}: ${scenario.name}`, { todo: scenario.pending }, async () => {
      const room = "Two sizes";
      const [host, viewer, other] = await Promise.all(["Host", "Narrow", "Wide"].map((name) => user(name)));
      try {
        await host.run("host", room, { simulcast: SIZES });
        await Promise.all([viewer, other].map((each) => each.run("join", room, { spectator: true })));
        await Promise.all([viewer, other].map(decoding));
        const isTop = async (each) => (await most(each, "frameWidth")) === (await most(host, "frameWidth"));
        const isWide = () => isTop(viewer);
        await until("the viewer gets the top layer", isWide, 8_000, 200).catch(async (error) => {
          throw new Error(error.message + (await because(host, viewer, other)));
        });
        const beside = look(host, other, PLAIN + scenario.settle * 1_000 + IMPAIRED);
        await hold(scenario, { host, viewer, impaired: viewer });
        assert.ok(await isTop(other), "the other lost the top layer");
        assert.ok((await beside).pause <= stretched(FREEZE), `the other's picture paused`);
        const began = Date.now();
        await until("the viewer climbs back", isWide, stretched(scenario.holds.climb * 1_000), 200);
        say(`${scenario.name}: back on the top layer after ${Date.now() - began} ms`);
      } finally {
        await Promise.all([host, viewer, other].map((each) => each.context.close()));
      }
    });
});
