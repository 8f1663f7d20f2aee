/** The relay does to datagrams and byte streams what it says, and little else. */

import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { Cleanup, progress, stretched, until } from "./harness.mjs";
import { Line, randomNumbers } from "./line.mjs";
import { startRelay } from "./relay.mjs";

const HOST = "127.0.0.1";
const MANY = 20_000;

const cleanup = new Cleanup();
const say = progress("relay");
after(() => cleanup.run());

describe("a line", () => {
  const line = (impairment) => {
    const made = new Line(randomNumbers(1));
    made.impair(impairment, 0);
    return made;
  };
  const fates = (made) => Array.from({ length: MANY }, () => made.arrivals(100, 0).length);
  const near = (value, expected, share = 0.1) =>
    assert.ok(Math.abs(value - expected) <= expected * share, `${value} is not about ${expected}`);
  const round = (arrivals) => arrivals.map((time) => Math.round(time * 1e6) / 1e6);

  test("delays exactly", () => assert.deepEqual(line({ delay: 0.025 }).arrivals(100, 1), [1.025]));

  test("loses and doubles that share", () => {
    near(fates(line({ loss: 0.05 })).filter((count) => count === 0).length, 0.05 * MANY);
    near(fates(line({ duplication: 0.05 })).filter((count) => count === 2).length, 0.05 * MANY);
    assert.ok(fates(line({})).every((count) => count === 1));
  });

  test("loses in bursts of the model's length and share", () => {
    const lost = fates(line({ burst: { enter: 0.02, leave: 0.25 } })).map((count) => count === 0);
    const total = lost.filter(Boolean).length;
    near(total, (MANY * 0.02) / 0.27);
    near(total / lost.filter((each, index) => each && !lost[index - 1]).length, 4);
  });

  test("keeps the order under jitter if told to", () => {
    const spread = { delay: 0.02, jitter: 0.03 };
    for (const reorder of [true, false]) {
      const made = line({ ...spread, reorder });
      const arrivals = Array.from({ length: 1_000 }, (_, index) => made.arrivals(100, index * 0.005)[0]);
      arrivals.forEach((time, index) =>
        assert.ok(time >= index * 0.005 + 0.02 && time <= index * 0.005 + 0.05),
      );
      const sorted = arrivals.toSorted((a, b) => a - b);
      assert.equal(
        arrivals.every((time, index) => time === sorted[index]),
        !reorder,
      );
    }
  });

  test("has a narrow place whose queue drops what would wait too long", () => {
    const narrow = line({ delay: 0.01, rate: 80_000, queue: 0.25 });
    const arrivals = Array.from({ length: 5 }, () => round(narrow.arrivals(1_000, 0)));
    assert.deepEqual(arrivals, [[0.11], [0.21], [0.31], [], []]);
    assert.deepEqual(round(narrow.arrivals(1_000, 0.1)), [0.41]);
    assert.deepEqual(round(narrow.arrivals(500, 2)), [2.06]);
  });

  test("swallows datagrams in an outage and holds up streams", () => {
    const broken = new Line(randomNumbers(1));
    broken.impair({ delay: 0.1, outages: [[1, 3]] }, 10);
    const times = [10.99, 11, 12.99, 13];
    assert.deepEqual(
      times.map((now) => broken.arrivals(100, now).length),
      [1, 0, 0, 1],
    );
    assert.deepEqual(round(times.map((now) => broken.arrivalInOrder(100, now))), [11.09, 13.1, 13.1, 13.1]);
  });

  test("refuses a parameter that it does not have", () =>
    assert.throws(() => line({ delay_ms: 25 }), /no parameter delay_ms/));
});

describe("the relay", () => {
  let relay;
  /** Echoes, and remembers by whom it was sent what. */
  let server;
  const sources = new Set();

  async function socket(onMessage) {
    const made = createSocket({ type: "udp4", recvBufferSize: 4_194_304, sendBufferSize: 4_194_304 });
    made.on("message", onMessage);
    await new Promise((done) => made.bind(0, HOST, done));
    cleanup.add(() => made.close());
    return made;
  }

  before(async () => {
    relay = startRelay(cleanup);
    server = await socket((data, { port }) => {
      sources.add(port);
      server.send(data, port, HOST);
    });
  });

  /** Send datagrams that name their number and time; what came back, and after how many milliseconds. */
  async function roundTrips(ports, count, interval) {
    const got = [];
    const client = await socket((data) =>
      got.push([data.readUInt32BE(), performance.now() - data.readDoubleBE(4)]),
    );
    for (let number = 0; number < count; number += 1) {
      const data = Buffer.alloc(1_000);
      data.writeUInt32BE(number);
      data.writeDoubleBE(performance.now(), 4);
      client.send(data, ports.udp, HOST);
      if (interval > 0) await sleep(interval);
    }
    return got;
  }

  test("adds little of its own", async () => {
    const { ports } = await relay.leg(server.address().port);
    const got = await roundTrips(ports, 300, 2);
    await until("all came back", () => got.length === 300);
    const times = got.map(([, time]) => time).sort((a, b) => a - b);
    say(`round trip p50 ${times[150].toFixed(2)} ms, p99 ${times[297].toFixed(2)} ms, impaired by nothing`);
    assert.ok(times[150] < stretched(5), `its own round trip is ${times[150]} ms`);
  });

  test("delays by what it was told, give or take a millisecond each way", async () => {
    const leg = await relay.leg(server.address().port);
    await leg.impair({ up: { delay: 0.02 }, down: { delay: 0.03 } });
    const got = await roundTrips(leg.ports, 300, 2);
    await until("all came back", () => got.length === 300);
    const times = got.map(([, time]) => time).sort((a, b) => a - b);
    say(`round trip p50 ${times[150].toFixed(2)} ms, p99 ${times[297].toFixed(2)} ms, told 50 ms`);
    assert.ok(times[0] >= 50, `one came back after ${times[0]} ms`);
    assert.ok(times[150] < 50 + stretched(5), `p50 is ${times[150]} ms`);
  });

  test("carries more than any test sends", async () => {
    const leg = await relay.leg(server.address().port);
    await leg.impair({ up: { delay: 0.005 }, down: { delay: 0.005 } });
    const began = performance.now();
    let got = [];
    for (let burst = 0; burst < 20; burst += 1) {
      const part = await roundTrips(leg.ports, 250, 0);
      await until("a burst came back", () => part.length === 250, 10_000, 1);
      got = got.concat(part);
    }
    const rate = (2 * got.length) / ((performance.now() - began) / 1_000);
    say(`${rate.toFixed(0)} datagrams of 1,000 bytes a second in bursts of 250, none lost`);
    assert.equal((await leg.stats()).lost, 0);
  });

  test("loses the same datagrams for the same seed, others for another", async () => {
    const runs = [];
    for (const seed of [1, 1, 2]) {
      const leg = await relay.leg(server.address().port, seed);
      await leg.impair({ up: { loss: 0.3 } });
      const got = await roundTrips(leg.ports, 200, 0);
      await until("the rest came back", async () => got.length + (await leg.stats()).lost === 200);
      runs.push(got.map(([number]) => number));
    }
    assert.deepEqual(runs[0], runs[1]);
    assert.notDeepEqual(runs[0], runs[2]);
  });

  test("comes from another address after rebinding", async () => {
    const leg = await relay.leg(server.address().port);
    const got = [];
    const client = await socket((data) => got.push(String(data)));
    const said = async (text) => {
      sources.clear();
      client.send(text, leg.ports.udp, HOST);
      await until(`${text} came back`, () => got.includes(text));
      return [...sources];
    };
    const [before] = await said("one");
    assert.deepEqual(await said("two"), [before]);
    await leg.rebind();
    const [after] = await said("three");
    assert.notEqual(after, before);
    server.send("to nobody", before, HOST);
    await said("four");
    assert.deepEqual(got, ["one", "two", "three", "four"]);
  });

  test("carries streams whole, delayed, through an outage, and closes them", async () => {
    const echo = createServer({ allowHalfOpen: true }, (connection) => connection.pipe(connection));
    await new Promise((done) => echo.listen(0, HOST, done));
    cleanup.add(() => echo.close());
    const leg = await relay.leg(echo.address().port);
    await leg.impair({ up: { delay: 0.02, rate: 40_000_000, outages: [[0, 0.2]] }, down: { delay: 0.03 } });
    const began = performance.now();
    const client = connect(leg.ports.tcp, HOST);
    const sent = Buffer.from(Array.from({ length: 1_000_000 }, (_, index) => (index * 7) & 0xff));
    const parts = [];
    let first = null;
    client.on("data", (part) => {
      first ??= performance.now() - began;
      parts.push(part);
    });
    client.end(sent);
    await once(client, "close");
    assert.deepEqual(Buffer.concat(parts), sent);
    assert.ok(first >= 200, `the first byte came back after ${first} ms`);
    // 8 Mbit at 40 Mbit/s, after the outage
    assert.ok(performance.now() - began >= 400, `all was there after ${performance.now() - began} ms`);
    // The relay hears of the end in its own time.
    await until("the connection is forgotten", async () => (await leg.stats()).connections === 0);
  });
});
