import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "./fakes.js";
import { type Input, decodeUntrusted, encodeDelay, encodeEcho, encodeInput } from "../src/netplay/input.js";
import { DELAY_REPORT_INTERVAL, DELAY_WEIGHT, InputPipeline } from "../src/netplay/pipeline.js";

function end(hosts: boolean): { pipe: InputPipeline; sent: unknown[]; inputs: unknown[]; clock: FakeClock } {
  const clock = new FakeClock();
  const sent: unknown[] = [];
  const inputs: unknown[] = [];
  const pipe = new InputPipeline(
    hosts,
    (message) => {
      sent.push(decodeUntrusted(message));
      return true;
    },
    clock,
  );
  pipe.on("input", ({ player, index, value }: Input) => inputs.push([player, index, value]));
  pipe.sit(hosts ? 0 : 1);
  return { pipe, sent, inputs, clock };
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
