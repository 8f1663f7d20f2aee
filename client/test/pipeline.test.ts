import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "./fakes.js";
import { type Input, decodeUntrusted, encodeDelay, encodeEcho, encodeInput } from "../src/netplay/input.js";
import { type Change, decodeRunUntrusted, encodeMarks, encodeRun } from "../src/netplay/runs.js";
import { DELAY_REPORT_INTERVAL, DELAY_WEIGHT, InputPipeline, MAX_SENDERS } from "../src/netplay/pipeline.js";

interface End {
  pipe: InputPipeline;
  sent: unknown[];
  runs: unknown[];
  inputs: unknown[];
  clock: FakeClock;
}

function end(hosts: boolean): End {
  const clock = new FakeClock();
  const sent: unknown[] = [];
  const inputs: unknown[] = [];
  const runs: unknown[] = [];
  const pipe = new InputPipeline({
    hosts,
    send: (message) => {
      sent.push(decodeUntrusted(message) ?? decodeRunUntrusted(message));
      return true;
    },
    sendRun: (message) => {
      runs.push(decodeRunUntrusted(message));
      return true;
    },
    clock,
    random: () => 77,
  });
  pipe.on("input", ({ player, index, value }: Input) => inputs.push([player, index, value]));
  pipe.sit(hosts ? 0 : 1);
  return { pipe, sent, runs, inputs, clock };
}

const input = (sequence: number, player: number, value: number): Uint8Array =>
  encodeInput({ sequence, player, index: 4, value });

test("a host confirms once a frame, with the last input of each player", () => {
  const { pipe, sent, inputs } = end(true);
  pipe.receive("bob", input(1, 1, 1));
  pipe.receive("bob", input(2, 1, 0));
  pipe.receive("eve", input(7, 2, 1));
  assert.deepEqual(sent, []);
  pipe.confirm();
  pipe.confirm();
  assert.deepEqual(sent, [
    { type: "echo", player: 1, sequence: 2 },
    { type: "echo", player: 2, sequence: 7 },
  ]);
  assert.deepEqual(inputs, [
    [1, 4, 1],
    [1, 4, 0],
    [2, 4, 1],
  ]);
});

test("nobody moves the host's seat, or one among the spectators", () => {
  const { pipe, sent, inputs } = end(true);
  pipe.receive("bob", input(1, 0, 1));
  pipe.receive("bob", input(1, 8, 1));
  pipe.receive("bob", "not an input");
  pipe.confirm();
  assert.deepEqual([inputs, sent], [[], []]);
});

test("senders do not overtake each other, and a new channel counts from one again", () => {
  const { pipe, inputs } = end(true);
  pipe.receive("old", input(9, 1, 1));
  pipe.receive("old", input(8, 1, 0));
  pipe.receive("new", input(1, 1, 0));
  assert.deepEqual(inputs, [
    [1, 4, 1],
    [1, 4, 0],
  ]);
});

test("what was held down on a channel that is gone is let go", () => {
  const { pipe, inputs } = end(true);
  pipe.receive("bob", input(1, 1, 1));
  pipe.channelClosed("bob");
  pipe.channelClosed("bob");
  assert.deepEqual(inputs, [
    [1, 4, 1],
    [1, 4, 0],
  ]);
});

test("what is held down on the channel that replaced it is not", () => {
  const { pipe, inputs } = end(true);
  pipe.receive("old", input(5, 1, 1));
  pipe.receive("new", input(1, 1, 1));
  pipe.channelClosed("old");
  assert.deepEqual(inputs.at(-1), [1, 4, 1]);
});

test("a player averages its delay and reports it now and then", () => {
  const { pipe, sent, clock } = end(false);
  const press = (value: number, sequence: number, delay: number): void => {
    pipe.set(4, value);
    clock.advance(delay);
    pipe.receive("host", encodeEcho(1, sequence));
  };
  press(1, 1, 20);
  assert.equal(pipe.delay, 20);
  press(0, 2, 40);
  assert.equal(pipe.delay, 20 + 20 * DELAY_WEIGHT);
  clock.advance(DELAY_REPORT_INTERVAL);
  press(1, 3, 24);
  const reports = sent.filter((message) => (message as { type: string }).type === "delay");
  assert.deepEqual(reports, [
    { type: "delay", player: 1, milliseconds: 20 },
    { type: "delay", player: 1, milliseconds: 24 },
  ]);
});

test("a host passes reports of delay on", () => {
  const { pipe } = end(true);
  const reports: unknown[] = [];
  pipe.on("playerDelay", (report) => reports.push(report));
  pipe.receive("bob", encodeDelay(1, 33));
  assert.deepEqual(reports, [{ player: 1, milliseconds: 33 }]);
});

test("a player that only watches lets go and sends nothing more", () => {
  const { pipe, sent } = end(false);
  pipe.set(4, 1);
  pipe.sit(8);
  pipe.set(4, 1);
  pipe.opened();
  assert.deepEqual(
    sent.map((message) => (message as Input).value),
    [1, 0],
  );
});

const run = (player: number, first: number, changes: Change[], sender = 5): Uint8Array =>
  encodeRun({ player, sender, first, changes });
const PRESS = { index: 4, value: 1 };
const RELEASE = { index: 4, value: 0 };
const received = (sender: number, number: number): unknown => ({
  type: "received",
  marks: [{ sender, number }],
});

test("a host acknowledges every run at once, and says once a frame what is in it", () => {
  const { pipe, sent, inputs } = end(true);
  pipe.receive("bob", run(1, 1, [PRESS]));
  pipe.receive("bob", run(1, 1, [PRESS, RELEASE]));
  pipe.receive("bob", run(1, 1, [PRESS]));
  assert.deepEqual(inputs, [
    [1, 4, 1],
    [1, 4, 0],
  ]);
  assert.deepEqual(sent.splice(0), [received(5, 1), received(5, 2), received(5, 2)]);
  pipe.confirm();
  pipe.confirm();
  assert.deepEqual(sent, [{ type: "shown", marks: [{ sender: 5, number: 2 }] }]);
});

test("runs for the host's own seat are acknowledged, so that they end, and move nothing", () => {
  const { pipe, sent, inputs } = end(true);
  pipe.receive("bob", run(0, 1, [PRESS]));
  pipe.channelClosed("bob");
  assert.deepEqual([inputs, sent], [[], [received(5, 1)]]);
});

test("what a player said before it changed over to runs cannot undo what it says now", () => {
  const { pipe, inputs } = end(true);
  pipe.receive("single", input(1, 1, 1));
  pipe.receive("other", input(1, 2, 1));
  pipe.receive("runs", run(1, 1, []));
  pipe.receive("single", input(2, 1, 1));
  assert.deepEqual(inputs.splice(0), [
    [1, 4, 1],
    [2, 4, 1],
    [1, 4, 0],
  ]);
  pipe.channelClosed("runs");
  pipe.receive("single", input(3, 1, 1));
  assert.deepEqual(inputs, [[1, 4, 1]]);
});

test("whoever leaves a seat says so, so that single messages of the next one in it count at once", () => {
  const host = end(true);
  const sent: Uint8Array[] = [];
  const pipe = new InputPipeline({
    hosts: false,
    send: () => true,
    sendRun: (message) => sent.push(message) > 0,
    clock: new FakeClock(),
    random: () => 77,
  });
  pipe.sit(1);
  pipe.runsOpened();
  pipe.sit(2);
  for (const message of sent) host.pipe.receive("bob", message);
  host.pipe.receive("eve", input(1, 1, 1));
  assert.deepEqual(host.inputs, [[1, 4, 1]]);
  pipe.close();
});

test("a sender that comes back on a new channel is not applied twice; what it held was let go", () => {
  const { pipe, inputs } = end(true);
  pipe.receive("old", run(1, 1, [PRESS]));
  pipe.channelClosed("old");
  pipe.receive("new", run(1, 1, [PRESS, PRESS]));
  assert.deepEqual(inputs, [
    [1, 4, 1],
    [1, 4, 0],
    [1, 4, 1],
  ]);
  pipe.receive("newer", run(1, 3, []));
  pipe.channelClosed("new");
  assert.equal(inputs.length, 3);
});

test("a host remembers a bounded number of senders, and lets go for those it forgets", () => {
  const { pipe, inputs } = end(true);
  for (let sender = 0; sender <= MAX_SENDERS; sender += 1) {
    const index = sender % 30;
    pipe.receive("bob", run(1 + Math.floor(sender / 30), 1, [{ index, value: 1 }], sender));
  }
  assert.deepEqual(inputs.at(-1), [1, 0, 0]);
  assert.equal(inputs.length, MAX_SENDERS + 2);
});

test("a player changes over to runs when its channel for them opens, holding what it holds", () => {
  const { pipe, sent, runs } = end(false);
  pipe.set(4, 1);
  assert.equal(pipe.inRuns, false);
  pipe.runsOpened();
  pipe.set(5, 1);
  assert.equal(sent.length, 1);
  assert.deepEqual(runs, [
    { type: "run", player: 1, sender: 77, first: 1, changes: [PRESS] },
    { type: "run", player: 1, sender: 77, first: 1, changes: [PRESS, { index: 5, value: 1 }] },
  ]);
  pipe.receive("host", encodeMarks("received", [{ sender: 77, number: 2 }]));
  pipe.hostChannel(true); // another channel of the host: it may know nothing
  assert.deepEqual((runs.at(-1) as { first: number; changes: Change[] }).changes.length, 2);
  pipe.hostChannel(false); // and now one that takes no runs
  assert.equal(pipe.inRuns, false);
  assert.equal(sent.length, 3);
  pipe.close();
});

test("the delay of runs is taken from the frame they are in, and reported like any other", () => {
  const { pipe, sent, clock } = end(false);
  pipe.runsOpened();
  pipe.set(4, 1);
  clock.advance(30);
  pipe.receive("host", encodeMarks("received", [{ sender: 77, number: 1 }]));
  assert.equal(pipe.delay, null);
  clock.advance(10);
  pipe.receive("host", encodeMarks("shown", [{ sender: 77, number: 1 }]));
  assert.equal(pipe.delay, 40);
  assert.deepEqual(sent, [{ type: "delay", player: 1, milliseconds: 40 }]);
  pipe.close();
  assert.equal(clock.timers, 0);
});
