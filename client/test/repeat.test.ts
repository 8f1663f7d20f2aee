/**
 * Runs over channels that lose, reorder and double messages: seeded, in virtual time. The age of an input is the time
 * from the key press to the moment the host gives it to the game.
 */

import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "./fakes.js";
import { Line, Random, ages, percentile, play } from "./lines.js";
import {
  GIVE_UP,
  KEEP_ALIVE_INTERVAL,
  MAX_UNACKNOWLEDGED,
  REPEAT_INTERVAL,
  RunReceiver,
  RunSender,
} from "../src/netplay/repeat.js";
import {
  type Change,
  MAX_MARKS,
  MAX_RUN,
  MAX_RUN_BYTES,
  RESET,
  RUN_VERSION,
  type Run,
  decodeRunUntrusted,
  encodeMarks,
  encodeRun,
} from "../src/netplay/runs.js";

const asRun = (message: unknown): Run => {
  const run = decodeRunUntrusted(message);
  assert.ok(run?.type === "run");
  return run;
};

// -- the bytes ---------------------------------------------------------------------------------------------------

test("a run is the bytes that the documentation shows", () => {
  const run = {
    player: 1,
    sender: 0x01020304,
    first: 7,
    changes: [
      { index: 8, value: 1 },
      { index: 8, value: 0 },
      { index: 16, value: -32_767 },
    ],
  };
  const bytes = encodeRun(run);
  assert.equal(Buffer.from(bytes).toString("hex"), "010101030102030400000007" + "28" + "08" + "508001");
  assert.deepEqual(decodeRunUntrusted(bytes), { type: "run", ...run });
  const marks = encodeMarks("received", [{ sender: 0x01020304, number: 9 }]);
  assert.equal(Buffer.from(marks).toString("hex"), "0102" + "0102030400000009");
});

test("whatever a sender can say survives the way, in any kind of binary data, within the cap", () => {
  const random = new Random(1);
  for (let round = 0; round < 500; round += 1) {
    const changes = Array.from({ length: random.below(MAX_RUN + 1) }, () =>
      random.below(20) === 0
        ? { index: RESET, value: 0 }
        : { index: random.below(30), value: [0, 1, random.below(65_535) - 32_767][random.below(3)] ?? 0 },
    );
    const run = { player: random.below(8), sender: random.bits(), first: 1 + random.below(1_000), changes };
    const bytes = encodeRun(run);
    assert.ok(bytes.length <= MAX_RUN_BYTES);
    const apart = new Uint8Array(bytes.length + 5);
    apart.set(bytes, 3);
    for (const form of [bytes, bytes.slice().buffer, apart.subarray(3, 3 + bytes.length)])
      assert.deepEqual(decodeRunUntrusted(form), { type: "run", ...run });
  }
  const longest = Array.from({ length: MAX_RUN }, () => ({ index: 29, value: -32_767 }));
  assert.equal(encodeRun({ player: 7, sender: 1, first: 1, changes: longest }).length, MAX_RUN_BYTES);
});

test("unknown versions, unknown kinds and damaged messages are dropped without a word", () => {
  const good = encodeRun({ player: 1, sender: 5, first: 1, changes: [{ index: 16, value: 300 }] });
  const marks = encodeMarks("shown", [{ sender: 5, number: 1 }]);
  const changed = (bytes: Uint8Array, at: number, value: number): Uint8Array => {
    const copy = bytes.slice();
    copy[at] = value;
    return copy;
  };
  const bad: unknown[] = [
    undefined,
    null,
    "text",
    {},
    new Uint8Array(0),
    new Uint8Array([RUN_VERSION]),
    changed(good, 0, RUN_VERSION + 1),
    changed(good, 1, 4),
    changed(good, 2, 8),
    changed(good, 3, 0),
    changed(good, 3, 2),
    changed(good, 11, 0), // numbers begin at 1
    changed(good, 12, 30 | (2 << 5)),
    changed(good, 12, 16 | (3 << 5)),
    encodeRun({ player: 1, sender: 5, first: 1, changes: [{ index: 16, value: -32_768 }] }),
    good.slice(0, -1),
    new Uint8Array([...good, 0]),
    marks.slice(0, -1),
    marks.slice(0, 2),
    encodeMarks(
      "shown",
      Array.from({ length: MAX_MARKS + 1 }, (_, sender) => ({ sender, number: 1 })),
    ),
    new Uint8Array(MAX_RUN_BYTES + 1).fill(1),
  ];
  for (const data of bad) assert.equal(decodeRunUntrusted(data), null, String(data));
  for (let length = 0; length < good.length; length += 1)
    assert.equal(decodeRunUntrusted(good.slice(0, length)), null);
});

test("random bytes give a legal message or null, never an error", () => {
  const random = new Random(2);
  const good = encodeRun({ player: 1, sender: 5, first: 9, changes: [{ index: 4, value: 1 }] });
  for (let round = 0; round < 20_000; round += 1) {
    const data = round % 2 === 0 ? good.slice() : new Uint8Array(random.below(60));
    for (let change = round % 2 === 0 ? 2 : data.length; change > 0; change -= 1)
      data[random.below(data.length || 1)] = random.below(256);
    const message = decodeRunUntrusted(data);
    if (message?.type !== "run") continue;
    assert.ok(message.player <= 7 && message.first >= 1 && message.changes.length <= MAX_RUN);
    for (const { index, value } of message.changes)
      assert.ok((index < 30 || index === RESET) && Math.abs(value) <= 32_767);
  }
});

// -- the sending end ---------------------------------------------------------------------------------------------

function sender(): { pad: RunSender; sent: Run[]; clock: FakeClock; channel: { open: boolean } } {
  const clock = new FakeClock();
  const sent: Run[] = [];
  const channel = { open: true };
  const send = (message: Uint8Array): boolean => {
    if (channel.open) sent.push(asRun(message));
    return channel.open;
  };
  const pad = new RunSender(send, clock, 1, 5);
  sent.length = 0; // it says hello
  return { pad, sent, clock, channel };
}

test("a change goes out at once with all that is unacknowledged, and again until it is acknowledged", () => {
  const { pad, sent, clock } = sender();
  pad.set(4, 1);
  pad.set(4, 1);
  pad.set(4, 0);
  assert.deepEqual(
    sent.map(({ first, changes }) => [first, changes.length]),
    [
      [1, 1],
      [1, 2],
    ],
  );
  clock.advance(REPEAT_INTERVAL * 3 + 1);
  assert.equal(sent.length, 5);
  pad.received(5, 1);
  clock.advance(REPEAT_INTERVAL);
  assert.deepEqual([sent.at(-1)?.first, sent.at(-1)?.changes], [2, [{ index: 4, value: 0 }]]);
  pad.received(5, 2);
  sent.length = 0;
  clock.advance(2 * KEEP_ALIVE_INTERVAL + 1);
  assert.deepEqual(
    sent.map(({ first, changes }) => [first, changes.length]),
    [
      [3, 0],
      [3, 0],
    ],
  );
  pad.close();
  assert.equal(clock.timers, 0);
});

test("acknowledgements of others, of the future and of the past change nothing", () => {
  const { pad } = sender();
  pad.set(4, 1);
  pad.set(4, 0);
  for (const [who, number] of [
    [6, 2],
    [5, 3],
    [5, 0],
    [5, 2 ** 32 - 1],
  ] as const)
    pad.received(who, number);
  assert.equal(pad.unacknowledged, 2);
  pad.received(5, 2);
  pad.received(5, 1);
  assert.equal(pad.unacknowledged, 0);
  pad.close();
});

test("what does not fit into one run follows as soon as the first is acknowledged", () => {
  const { pad, sent, channel } = sender();
  channel.open = false;
  for (let press = 0; press < MAX_RUN + 20; press += 1) pad.set(4, (press + 1) % 2);
  channel.open = true;
  pad.resend(); // as when the channel opens; nothing is held down
  pad.set(5, 1);
  assert.equal(sent.at(-1)?.changes.length, MAX_RUN);
  sent.length = 0;
  pad.received(5, MAX_RUN);
  assert.deepEqual([sent[0]?.first, sent[0]?.changes.length], [MAX_RUN + 1, 21]);
  pad.close();
});

test("a run is of one seat; the next seat's follows when it has arrived", () => {
  const { pad, sent } = sender();
  pad.set(4, 1);
  pad.player = 2;
  assert.deepEqual([sent.at(-1)?.player, sent.at(-1)?.changes.length], [1, 2]);
  pad.received(5, 2);
  pad.player = 2;
  pad.set(5, 1);
  assert.deepEqual([sent.at(-1)?.player, sent.at(-1)?.first, sent.at(-1)?.changes.length], [2, 3, 2]);
  pad.close();
});

test("what is old, or too much, is given up: the host lets go of all and hears what is held", () => {
  const { pad, sent, clock, channel } = sender();
  const receiver = new RunReceiver();
  pad.set(4, 1);
  pad.set(6, 1);
  for (const run of sent) receiver.receive(run);
  pad.received(5, 2);
  channel.open = false;
  pad.set(6, 0);
  pad.set(7, 1);
  clock.advance(GIVE_UP + REPEAT_INTERVAL);
  channel.open = true;
  sent.length = 0;
  clock.advance(REPEAT_INTERVAL);
  assert.deepEqual(sent.at(-1)?.changes, [
    { index: RESET, value: 0 },
    { index: 4, value: 1 },
    { index: 7, value: 1 },
  ]);
  const news = receiver.receive(sent.at(-1) as Run).map(({ index, value }) => [index, value]);
  assert.deepEqual(news, [
    [4, 0],
    [6, 0],
    [4, 1],
    [7, 1],
  ]);
  assert.deepEqual(receiver.receive(sent.at(-1) as Run), []);
  assert.ok(receiver.holds(1, 4) && !receiver.holds(1, 6) && receiver.holds(1, 7));
  for (let press = 0; press <= 2 * MAX_UNACKNOWLEDGED; press += 1) {
    pad.set(9, (press + 1) % 2);
    assert.ok(pad.unacknowledged <= MAX_UNACKNOWLEDGED);
  }
  pad.close();
});

// -- both ends over a bad line -----------------------------------------------------------------------------------

test("over any line every change is applied once and in order, and the end is the same on both sides", () => {
  for (let seed = 1; seed <= 30; seed += 1) {
    const random = new Random(seed);
    const loss = random.below(40) / 100;
    const line = {
      loss,
      delay: 5 + random.below(60),
      jitter: random.below(80),
      doubled: random.below(20) / 100,
    };
    const clock = new FakeClock();
    const made: Change[] = [];
    const levels = new Map<number, number>();
    const applied: Change[] = [];
    const receiver = new RunReceiver();
    const back = new Line(clock, random, line, (message) => {
      const marks = decodeRunUntrusted(message);
      assert.ok(marks?.type === "received");
      for (const { sender, number } of marks.marks) pad.received(sender, number);
    });
    const there = new Line(clock, random, line, (message) => {
      const run = asRun(message);
      applied.push(...receiver.receive(run).map(({ index, value }) => ({ index, value })));
      back.send(encodeMarks("received", [{ sender: run.sender, number: receiver.received }]));
    });
    const pad: RunSender = new RunSender((message) => there.send(message), clock, 1, random.bits());
    for (let change = 0; change < 400; change += 1) {
      const index = random.below(30);
      const value = random.below(2) === 0 ? random.below(2) : random.below(65_535) - 32_767;
      if ((levels.get(index) ?? 0) !== value) made.push({ index, value });
      levels.set(index, value);
      pad.set(index, value);
      clock.advance(random.below(40));
    }
    clock.advance(2_000);
    assert.equal(pad.unacknowledged, 0, `seed ${seed}`);
    assert.deepEqual(applied, made, `seed ${seed}`);
    const held = pad.held().map(({ index }) => index);
    assert.deepEqual(new Set(receiver.held().map(({ index }) => index)), new Set(held), `seed ${seed}`);
    pad.close();
  }
});

test("after an outage the game goes on with what is held, not with what was pressed meanwhile", () => {
  const clock = new FakeClock();
  const random = new Random(3);
  const receiver = new RunReceiver();
  const applied: number[] = [];
  const back = new Line(clock, random, { delay: 25 }, (message) => {
    const marks = decodeRunUntrusted(message);
    if (marks?.type === "received") for (const { number } of marks.marks) pad.received(5, number);
  });
  const there = new Line(clock, random, { delay: 25 }, (message) => {
    const run = asRun(message);
    applied.push(...receiver.receive(run).map(({ index }) => index));
    back.send(encodeMarks("received", [{ sender: 5, number: receiver.received }]));
  });
  const pad: RunSender = new RunSender((message) => there.send(message), clock, 1, 5);
  pad.set(0, 1);
  clock.advance(100);
  there.loss = 1;
  for (let press = 0; press < 100; press += 1) {
    pad.set(4, (press + 1) % 2);
    clock.advance(100);
  }
  pad.set(9, 1);
  there.loss = 0;
  applied.length = 0;
  clock.advance(GIVE_UP + 100);
  assert.ok(applied.length < 40, `${applied.length} changes after the outage`);
  assert.deepEqual(
    receiver.held().map(({ index }) => index),
    [0, 9],
  );
  pad.close();
});

for (const [leg, both] of [
  ["both ways", true],
  ["on the way to the host", false],
] as const) {
  test(`5 % loss ${leg}, 50 ms RTT, 60 changes a second: p99 of the age within one RTT and 10 ms`, () => {
    const line = { loss: 0.05, delay: 25, jitter: 5 };
    const way = play("runs", 6_000, line, both ? line : { ...line, loss: 0 }, new Random(4));
    const sorted = ages(way);
    assert.equal(sorted.length, 6_000);
    assert.ok(percentile(sorted, 0.99) <= 60, `p99 ${percentile(sorted, 0.99)}`);
    assert.ok(way.largest <= 200, `largest message ${way.largest} bytes`);
  });
}
