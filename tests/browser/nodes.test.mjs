/** Several nodes, as a page meets them that uses the netplay module: rooms elsewhere, and a node that goes away. */

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { startCluster } from "./cluster.mjs";
import { Cleanup, openPage, progress, startBrowser, until } from "./harness.mjs";

/** How long a picture may take, in milliseconds: to come, and to come back from another node. */
const FIRST_PICTURE = 10_000;
const RECOVERY = 30_000;

const cleanup = new Cleanup();
const say = progress("nodes");
let cluster;
let browser;
/** Of the present test. */
let people = [];
let users = 0;

before(async () => {
  cluster = await startCluster(cleanup);
  browser = await startBrowser(cleanup);
  say(`all nodes at ${cluster.front}`);
});
afterEach(async () => {
  for (const { context } of people) await context.close();
  people = [];
});
after(() => cleanup.run());

/** Somebody with the page open and signed in, by default at the address of all nodes. */
async function person(name, url = undefined) {
  const opened = await openPage(browser, cluster.front, { name });
  people.push(opened);
  const { page } = opened;
  await page.waitForFunction(() => window.player !== undefined);
  const user = `user${users++}`;
  const run = (method, ...args) =>
    page
      .evaluate(([each, rest]) => window.player[each](...rest), [method, args])
      .catch((error) => {
        throw new Error(`${name}.${method}: ${error.message}\n${opened.complaints.join("\n")}`);
      });
  await run("connect", user, cluster.password, url);
  const of = (property) => page.evaluate((each) => window.player.session[each], property);
  return { ...opened, run, of, node: () => run("node", user, cluster.password) };
}

async function within(milliseconds, what, promise) {
  const late = sleep(milliseconds, undefined, { ref: false }).then(() => {
    throw new Error(`waited ${milliseconds} ms in vain: ${what}`);
  });
  return Promise.race([promise, late]);
}

async function pressed(player, host) {
  const before = (await host.page.evaluate(() => window.player.inputs)).length;
  await player.run("press");
  await until(
    "the host's game gets what was pressed",
    async () => (await host.page.evaluate(() => window.player.inputs)).length >= before + 2,
  );
  const inputs = await host.page.evaluate(() => window.player.inputs);
  assert.deepEqual(
    inputs.slice(before).map(([, value]) => value),
    [1, 0],
  );
}

describe("several nodes", { concurrency: false }, () => {
  test("who joins a room of another node is sent there and plays [M18]", async () => {
    const player = await person("player");
    const near = await player.node();
    const [far, url] = Object.entries(cluster.nodes).find(([node]) => node !== near);
    const host = await person("host", url);
    await host.run("host", "Elsewhere");
    const took = await within(FIRST_PICTURE, "the picture", player.run("join", "Elsewhere"));
    say(`from node ${near} to ${far}: picture ${took.toFixed(0)} ms after the click`);
    await pressed(player, host);
    await player.page.evaluate(() => window.player.session.leave());
    await until("the player is back", async () => (await player.of("state")) === "lobby");
    await host.page.evaluate(() => window.player.session.leave());
    for (const { complaints } of people) assert.deepEqual(complaints, []);
  });

  test("when a node is stopped, host and player go on at another", async () => {
    const host = await person("host");
    const player = await person("player");
    await host.run("host", "Moving");
    await within(FIRST_PICTURE, "the picture", player.run("join", "Moving"));
    const lost = await host.node();
    const began = Date.now();
    await cluster.stop(lost);
    const stopped = Date.now();
    await within(RECOVERY, "the picture again", player.run("picture", stopped));
    say(`stopped in ${stopped - began} ms, picture again ${Date.now() - stopped} ms later`);
    assert.notEqual(await host.node(), lost);
    assert.equal(await host.of("role"), "host");
    await pressed(player, host);
  });
});
