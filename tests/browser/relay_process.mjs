/**
 * The process behind relay.mjs: a leg is one user's line, with a UDP and a TCP port that lead to the daemon's.
 *
 * Every client address has an upstream socket of its own, as behind a NAT. All that a user sends or gets shares the
 * leg's two lines, `up` and `down`. It is a process of its own so that neither the test nor the page holds it up.
 */

import { createSocket } from "node:dgram";
import { createServer, connect } from "node:net";

import { Line, randomNumbers } from "./line.mjs";

const HOST = "127.0.0.1";
const SOCKET_BUFFER = 4 * 1024 * 1024;
/** Datagrams that one direction of a leg holds at most; more are dropped. */
const MAX_FLYING = 20_000;
/** Bytes of one TCP connection under way; the sender waits when there are more. */
const MAX_UNDER_WAY = 256 * 1024;
/** Client addresses of one leg; Chromium uses one per transport. */
const MAX_CLIENTS = 64;

const seconds = () => performance.now() / 1_000;

/** Of two entries of a schedule: those of one time keep their order, or a stream would not. */
const isSooner = (one, other) => one.due < other.due || (one.due === other.due && one.number < other.number);

/** Calls that are made at their time, in order of it; a timer's resolution is a millisecond. */
class Schedule {
  #heap = [];
  #count = 0;
  #timer = null;
  #timerAt = Infinity;

  get size() {
    return this.#heap.length;
  }

  at(due, call) {
    if (due <= seconds() && (this.#heap.length === 0 || due < this.#heap[0].due)) {
      call();
      return;
    }
    const heap = this.#heap;
    let index = heap.length;
    const entry = { due, number: (this.#count += 1), call };
    heap.push(entry);
    for (let parent; index > 0 && isSooner(entry, heap[(parent = (index - 1) >> 1)]); index = parent)
      [heap[index], heap[parent]] = [heap[parent], heap[index]];
    this.#wake();
  }

  #wake() {
    const due = this.#heap[0]?.due ?? Infinity;
    if (due >= this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = due;
    this.#timer = setTimeout(() => this.#run(), Math.max(0, (due - seconds()) * 1_000));
  }

  #run() {
    this.#timerAt = Infinity;
    while (this.#heap.length > 0 && this.#heap[0].due <= seconds()) this.#pop().call();
    this.#wake();
  }

  #pop() {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (heap.length === 0) return first;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isSooner(heap[child + 1], heap[child])) child += 1;
      if (isSooner(last, heap[child])) break;
      heap[index] = heap[child];
      index = child;
    }
    heap[index] = last;
    return first;
  }
}

class Leg {
  #lines;
  #schedules = { up: new Schedule(), down: new Schedule() };
  #counts = { up: 0, down: 0, lost: 0 };
  #upstream = new Map();
  #connections = new Set();
  #udp = createSocket({ type: "udp4", recvBufferSize: SOCKET_BUFFER, sendBufferSize: SOCKET_BUFFER });
  #tcp = createServer({ noDelay: true, allowHalfOpen: true }, (client) => this.#accept(client));
  #target;

  constructor(target, seed) {
    this.#target = target;
    this.#lines = { up: new Line(randomNumbers(2 * seed)), down: new Line(randomNumbers(2 * seed + 1)) };
    this.#udp.on("message", (data, { port }) =>
      this.#forward("up", data, () => this.#upstreamOf(port)?.send(data, this.#target, HOST)),
    );
  }

  async open() {
    await new Promise((done) => this.#udp.bind(0, HOST, done));
    await new Promise((done) => this.#tcp.listen(0, HOST, done));
    return { udp: this.#udp.address().port, tcp: this.#tcp.address().port };
  }

  impair({ up, down }) {
    if (up) this.#lines.up.impair(up, seconds());
    if (down) this.#lines.down.impair(down, seconds());
  }

  /** What a NAT does that forgets: other source addresses from now on, nothing back to those before. */
  rebind() {
    for (const socket of this.#upstream.values()) socket.close();
    this.#upstream.clear();
  }

  stats() {
    return { ...this.#counts, clients: this.#upstream.size, connections: this.#connections.size };
  }

  // -- UDP -------------------------------------------------------------------------------------------------------

  #forward(direction, data, send) {
    const schedule = this.#schedules[direction];
    const arrivals =
      schedule.size < MAX_FLYING ? this.#lines[direction].arrivals(data.length, seconds()) : [];
    if (arrivals.length === 0) this.#counts.lost += 1;
    for (const arrival of arrivals) {
      this.#counts[direction] += 1;
      schedule.at(arrival, send);
    }
  }

  #upstreamOf(port) {
    const known = this.#upstream.get(port);
    if (known !== undefined || this.#upstream.size >= MAX_CLIENTS) return known;
    const socket = createSocket({ type: "udp4", recvBufferSize: SOCKET_BUFFER });
    socket.on("message", (data) => this.#forward("down", data, () => this.#udp.send(data, port, HOST)));
    socket.on("error", () => {}); // the daemon's port may be closed for a while
    this.#upstream.set(port, socket);
    return socket;
  }

  // -- TCP -------------------------------------------------------------------------------------------------------

  #accept(client) {
    const server = connect({ host: HOST, port: this.#target, noDelay: true, allowHalfOpen: true });
    this.#connections.add(client);
    client.once("close", () => this.#connections.delete(client));
    this.#pipe("up", client, server);
    this.#pipe("down", server, client);
  }

  #pipe(direction, from, to) {
    const [line, schedule] = [this.#lines[direction], this.#schedules[direction]];
    let underWay = 0;
    from.on("data", (data) => {
      underWay += data.length;
      if (underWay > MAX_UNDER_WAY) from.pause();
      this.#counts[direction] += 1;
      schedule.at(line.arrivalInOrder(data.length, seconds()), () =>
        to.write(data, () => {
          underWay -= data.length;
          if (underWay <= MAX_UNDER_WAY) from.resume();
        }),
      );
    });
    from.on("error", () => {}); // "close" follows
    from.on("end", () => schedule.at(line.arrivalInOrder(0, seconds()), () => to.end()));
    from.on("close", (failed) => failed && to.destroy());
  }
}

const legs = [];
const METHODS = {
  open: async (target, seed) => {
    const leg = new Leg(target, seed);
    legs.push(leg);
    return { leg: legs.length - 1, ports: await leg.open() };
  },
  impair: (leg, impairments) => legs[leg].impair(impairments),
  rebind: (leg) => legs[leg].rebind(),
  stats: (leg) => legs[leg].stats(),
};

process.on("message", async ({ id, method, args }) => {
  try {
    const value = await METHODS[method](...args);
    process.send({ id, value: value ?? null, at: Date.now() });
  } catch (error) {
    process.send({ id, error: error.message });
  }
});
process.on("disconnect", () => process.exit());
