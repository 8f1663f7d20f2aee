import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "./fakes.js";
import {
  INPUT_COUNT,
  InputReceiver,
  InputSender,
  MAX_MESSAGE,
  MAX_PENDING,
  MAX_VALUE,
  decodeUntrusted,
  encodeDelay,
  encodeEcho,
  encodeInput,
} from "../src/netplay/input.js";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

test("an input is the bytes that existing hosts read", () => {
  const message = encodeInput({ sequence: 0, player: 1, index: 8, value: 1 });
  assert.equal(
    Buffer.from(message).toString("hex"),
    "7b2274223a2269222c2266223a302c2273223a312c2270223a312c226b223a382c2276223a317d",
  );
});

test("inputs, echoes and delays survive the round trip, as any kind of binary data", () => {
  for (const input of [
    { sequence: 1, player: 0, index: 0, value: 0 },
    { sequence: 2 ** 40, player: 8, index: INPUT_COUNT - 1, value: -MAX_VALUE },
    { sequence: 77, player: 3, index: 20, value: MAX_VALUE },
  ]) {
    const encoded = encodeInput(input);
    const padded = new Uint8Array(encoded.length + 8);
    padded.set(encoded, 3);
    for (const form of [
      encoded,
      encoded.slice().buffer,
      padded.subarray(3, 3 + encoded.length),
      new DataView(encoded.slice().buffer),
    ]) {
      assert.deepEqual(decodeUntrusted(form), { type: "input", ...input });
    }
  }
  assert.deepEqual(decodeUntrusted(encodeEcho(1, 5)), { type: "echo", player: 1, sequence: 5 });
  assert.deepEqual(decodeUntrusted(encodeDelay(1, 20.4)), { type: "delay", player: 1, milliseconds: 20 });
});

test("the oldest client's text forms are read", () => {
  assert.deepEqual(decodeUntrusted('{"player":2,"index":4,"value":1}'), {
    type: "input",
    sequence: 0,
    player: 2,
    index: 4,
    value: 1,
  });
  const state = Array.from({ length: INPUT_COUNT }, (_, index) => (index === 5 ? 1 : 0));
  assert.deepEqual(decodeUntrusted(JSON.stringify({ player: 1, state })), {
    type: "snapshot",
    player: 1,
    values: state,
  });
});

test("whatever else comes is dropped without a word", () => {
  const bad: unknown[] = [
    undefined,
    null,
    7,
    {},
    "",
    "null",
    "[]",
    "{",
    '{"type":"ping","count":1,"timestamp":2}',
    '{"t":"x","f":0,"p":1,"k":1,"v":1}',
    '{"t":"i","f":0,"p":9,"k":1,"v":1}',
    '{"t":"i","f":0,"p":1,"k":30,"v":1}',
    '{"t":"i","f":0,"p":1,"k":1,"v":32768}',
    '{"t":"i","f":0,"p":1,"k":1.5,"v":1}',
    '{"t":"i","f":-1,"p":1,"k":1,"v":1}',
    '{"t":"i","f":"0","p":1,"k":1,"v":1}',
    '{"t":"i","f":0,"p":1,"k":1}',
    '{"t":"e","p":1,"f":0}',
    '{"t":"d","p":1,"v":60001}',
    '{"player":1,"state":[1,2]}',
    `{"player":1,"state":${JSON.stringify(new Array(INPUT_COUNT).fill("1"))}}`,
    `{"t":"i","f":0,"p":1,"k":1,"v":1,"x":"${"y".repeat(MAX_MESSAGE)}"}`,
    bytes(`{"t":"i","f":0,"p":1,"k":1,"v":1,"x":"${"y".repeat(MAX_MESSAGE)}"}`),
    new Uint8Array([0xff, 0xfe, 0x7b]),
    "[".repeat(MAX_MESSAGE),
  ];
  for (const data of bad) assert.equal(decodeUntrusted(data), null, String(data));
});

test("random bytes and damaged messages give a value or null, never an error", () => {
  let seed = 1;
  const roll = (limit: number): number => {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    return seed % limit;
  };
  const good = encodeInput({ sequence: 12, player: 1, index: 4, value: 1 });
  for (let round = 0; round < 20_000; round += 1) {
    const data = round % 2 === 0 ? good.slice() : new Uint8Array(roll(80));
    const changes = round % 2 === 0 ? 1 + roll(3) : data.length;
    for (let change = 0; change < changes; change += 1) data[roll(data.length || 1)] = roll(256);
    const message = decodeUntrusted(data);
    if (message?.type !== "input") continue;
    assert.ok(
      message.player >= 0 && message.player <= 8 && message.index >= 0 && message.index < INPUT_COUNT,
    );
    assert.ok(Math.abs(message.value) <= MAX_VALUE && message.sequence >= 0);
  }
});

function sender(): { sender: InputSender; sent: unknown[]; clock: FakeClock; channel: { open: boolean } } {
  const clock = new FakeClock();
  const sent: unknown[] = [];
  const channel = { open: true };
  const made = new InputSender(
    (message) => {
      if (channel.open) sent.push(decodeUntrusted(message));
      return channel.open;
    },
    clock,
    1,
  );
  return { sender: made, sent, clock, channel };
}

const input = (sequence: number, player: number, index: number, value: number): object => ({
  type: "input",
  sequence,
  player,
  index,
  value,
});

test("only changes are sent, numbered from one", () => {
  const { sender: pad, sent } = sender();
  pad.set(4, 1);
  pad.set(4, 1);
  pad.set(5, 0);
  pad.set(4, 0);
  assert.deepEqual(sent, [input(1, 1, 4, 1), input(2, 1, 4, 0)]);
});

test("what is held while the channel is closed is sent when it opens", () => {
  const { sender: pad, sent, channel } = sender();
  channel.open = false;
  pad.set(4, 1);
  pad.set(5, 1);
  pad.set(5, 0);
  channel.open = true;
  pad.resend();
  assert.deepEqual(sent, [input(4, 1, 4, 1)]);
});

test("changing seats lets go in the old one and holds on in the new", () => {
  const { sender: pad, sent } = sender();
  pad.set(4, 1);
  pad.player = 2;
  pad.release();
  assert.deepEqual(sent, [input(1, 1, 4, 1), input(2, 1, 4, 0), input(3, 2, 4, 1), input(4, 2, 4, 0)]);
});

test("an echo gives the delay once, and only for our seat and a number that is out", () => {
  const { sender: pad, clock } = sender();
  const delays: number[] = [];
  pad.on("delay", (delay) => delays.push(delay));
  pad.set(4, 1);
  clock.advance(30);
  pad.set(4, 0);
  clock.advance(10);
  pad.echoed(2, 2);
  pad.echoed(1, 99);
  pad.echoed(1, 2);
  pad.echoed(1, 2);
  pad.echoed(1, 1);
  assert.deepEqual(delays, [10]);
  assert.equal(pad.pending, 0);
});

test("echoes that never come are forgotten beyond the cap", () => {
  const { sender: pad } = sender();
  for (let press = 0; press < 3 * MAX_PENDING; press += 1) pad.set(4, press % 2 === 0 ? 1 : 0);
  assert.equal(pad.pending, MAX_PENDING);
});

test("the receiver drops what was overtaken, by button, and believes clients that do not count", () => {
  const receiver = new InputReceiver();
  const feed = (sequence: number, index: number, value: number): number =>
    receiver.receive({ type: "input", sequence, player: 1, index, value }).length;
  assert.equal(feed(2, 4, 0), 1);
  assert.equal(feed(1, 4, 1), 0);
  assert.equal(feed(1, 5, 1), 1);
  assert.equal(feed(2, 4, 0), 0);
  assert.equal(feed(0, 6, 1), 1);
  assert.equal(feed(0, 6, 0), 1);
});

test("the receiver unfolds a snapshot into what changed since the last", () => {
  const receiver = new InputReceiver();
  const snapshot = (values: number[]): unknown =>
    receiver.receive({ type: "snapshot", player: 1, values }).map(({ index, value }) => [index, value]);
  assert.deepEqual(snapshot([0, 1, 0]), [[1, 1]]);
  assert.deepEqual(snapshot([0, 1, 1]), [[2, 1]]);
  assert.deepEqual(snapshot([0, 0, 1]), [[1, 0]]);
});
