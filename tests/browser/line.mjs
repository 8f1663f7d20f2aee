/**
 * What a line does to datagrams, as in the virtual network of the Python tests (tests/support/impairment.py): the same
 * parameters, names and units. Times are seconds; shares and probabilities are from 0 to 1.
 *
 *     loss, burst {enter, leave, loss}, duplication, delay, jitter, reorder, rate (bit/s), queue, outages [[from, until]]
 */

const NONE = {
  loss: 0,
  burst: null,
  duplication: 0,
  delay: 0,
  jitter: 0,
  reorder: true,
  rate: null,
  queue: 0.2,
  outages: [],
};

/** Numbers from 0 to 1 that are the same for the same seed (mulberry32). */
export function randomNumbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** One direction of a path, with its memory. */
export class Line {
  #impairment = NONE;
  #random;
  #since = 0;
  #bad = false;
  #freeAt = 0;
  #lastArrival = 0;

  constructor(random) {
    this.#random = random;
  }

  /** Replace what happens from now on. What is under way is not affected. */
  impair(impairment, now) {
    for (const name of Object.keys(impairment))
      if (!(name in NONE)) throw new TypeError(`a line has no parameter ${name}`);
    this.#impairment = { ...NONE, ...impairment };
    this.#since = now;
    this.#bad = false;
  }

  /** When a datagram of `size` bytes that is sent now arrives: not at all, once, or twice. */
  arrivals(size, now) {
    if (this.stalledUntil(now) !== null) return [];
    const arrivals = [];
    const copies = this.#random() < this.#impairment.duplication ? 2 : 1;
    for (let copy = 0; copy < copies; copy += 1) {
      const through = this.#loses() ? null : this.#through(size, now);
      if (through !== null) arrivals.push(this.#arrival(through));
    }
    return arrivals;
  }

  /** When a piece of a byte stream arrives: nothing of it is lost or overtakes, an outage holds it up. */
  arrivalInOrder(size, now) {
    const begins = Math.max(now, this.stalledUntil(now) ?? now, this.#freeAt);
    const { rate } = this.#impairment;
    this.#freeAt = begins + (rate === null ? 0 : (size * 8) / rate);
    this.#lastArrival = Math.max(this.#arrival(this.#freeAt), this.#lastArrival);
    return this.#lastArrival;
  }

  /** The end of the outage of this moment, if there is one. */
  stalledUntil(now) {
    const elapsed = now - this.#since;
    const outage = this.#impairment.outages.find(([start, end]) => start <= elapsed && elapsed < end);
    return outage === undefined ? null : this.#since + outage[1];
  }

  #loses() {
    const { burst, loss } = this.#impairment;
    if (burst !== null) {
      if (this.#random() < (this.#bad ? burst.leave : burst.enter)) this.#bad = !this.#bad;
      if (this.#bad) return this.#random() < (burst.loss ?? 1);
    }
    return this.#random() < loss;
  }

  #through(size, now) {
    const { rate, queue } = this.#impairment;
    if (rate === null) return now;
    const begins = Math.max(now, this.#freeAt);
    if (begins - now > queue) return null;
    this.#freeAt = begins + (size * 8) / rate;
    return this.#freeAt;
  }

  #arrival(through) {
    const { delay, jitter, reorder } = this.#impairment;
    const arrival = through + delay + (jitter > 0 ? this.#random() * jitter : 0);
    if (reorder) return arrival;
    this.#lastArrival = Math.max(arrival, this.#lastArrival);
    return this.#lastArrival;
  }
}
