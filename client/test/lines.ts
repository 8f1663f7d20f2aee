/**
 * Lines in virtual time: what a message goes through between a player and its host, and the age that inputs have when
 * they come out.
 */

import { FakeClock } from "./fakes.js";
import { InputReceiver, InputSender, type Sender, decodeUntrusted } from "../src/netplay/input.js";
import { RunReceiver, RunSender } from "../src/netplay/repeat.js";
import { decodeRunUntrusted, encodeMarks } from "../src/netplay/runs.js";

/** A small generator of the linear congruential kind: the same seed, the same line. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  bits(): number {
    // Two steps: the low half of one has short periods.
    const step = (): number =>
      (this.#state = (Math.imul(this.#state, 1_664_525) + 1_013_904_223) >>> 0) >>> 16;
    return ((step() << 16) | step()) >>> 0;
  }

  /** 0 to 1, without 1. */
  share(): number {
    return this.bits() / 2 ** 32;
  }

  below(limit: number): number {
    return Math.floor(this.share() * limit);
  }
}

export interface LineOptions {
  /** Share of messages that never come. */
  readonly loss?: number;
  /** One way, in milliseconds, and how much more it may be: what is more than the sending interval reorders. */
  readonly delay: number;
  readonly jitter?: number;
  /** Share of messages that come twice. */
  readonly doubled?: number;
}

/** One direction. */
export class Line {
  loss: number;
  readonly #clock: FakeClock;
  readonly #random: Random;
  readonly #options: LineOptions;
  readonly #deliver: (message: Uint8Array) => void;

  constructor(
    clock: FakeClock,
    random: Random,
    options: LineOptions,
    deliver: (message: Uint8Array) => void,
  ) {
    this.#clock = clock;
    this.#random = random;
    this.#options = options;
    this.#deliver = deliver;
    this.loss = options.loss ?? 0;
  }

  send(message: Uint8Array): true {
    this.attempt(message);
    if (this.#random.share() < (this.#options.doubled ?? 0)) this.attempt(message);
    return true;
  }

  /** Whether it will come. */
  attempt(message: Uint8Array): boolean {
    if (this.#random.share() < this.loss) return false;
    const { delay, jitter = 0 } = this.#options;
    this.#clock.setTimeout(() => this.#deliver(message), delay + this.#random.share() * jitter);
    return true;
  }
}

/** Time until SCTP sends again what nothing later reports missing: dcSCTP's smallest, in milliseconds. */
const RTO = 400;
/** Later messages whose acknowledgement makes it sooner (RFC 9260 section 7.2.4). */
const MISSING_REPORTS = 3;
const LIFETIME = 3_000;

/** A line on which SCTP sends what was lost again, for as long as single inputs live; its acknowledgements arrive. */
class RepairedLine {
  readonly #clock: FakeClock;
  readonly #line: Line;
  readonly #roundTrip: number;
  readonly #missing = new Set<{ reports: number; again: () => void }>();

  constructor(clock: FakeClock, line: Line, roundTrip: number) {
    this.#clock = clock;
    this.#line = line;
    this.#roundTrip = roundTrip;
  }

  send(message: Uint8Array): true {
    this.#attempt(message, this.#clock.now() + LIFETIME, true);
    return true;
  }

  #attempt(message: Uint8Array, until: number, first: boolean): void {
    if (this.#clock.now() > until) return;
    if (this.#line.attempt(message)) {
      const older = [...this.#missing];
      this.#clock.setTimeout(() => {
        for (const each of older) if ((each.reports += 1) === MISSING_REPORTS) each.again();
      }, this.#roundTrip);
      return;
    }
    let done = false;
    const entry = {
      reports: 0,
      again: () => {
        if (done) return;
        done = true;
        this.#missing.delete(entry);
        this.#attempt(message, until, false);
      },
    };
    if (first) this.#missing.add(entry); // what was sent again is not sent a third time before the timer
    this.#clock.setTimeout(entry.again, RTO);
  }
}

export interface Played {
  readonly pressed: number[];
  /** When the input made n-th came to the game; missing if it never did. */
  readonly applied: Map<number, number>;
  messages: number;
  bytes: number;
  /** In bytes. */
  largest: number;
}

/** Make `count` changes, `interval` milliseconds apart give or take a half, and see when they come out at the host. */
export function play(
  way: "runs" | "single",
  count: number,
  up: LineOptions,
  down: LineOptions,
  random: Random,
  interval = 1_000 / 60,
): Played {
  const clock = new FakeClock();
  const played: Played = { pressed: [], applied: new Map(), messages: 0, bytes: 0, largest: 0 };
  const apply = (sequence: number): void => {
    if (played.applied.has(sequence)) throw new Error(`${sequence} came twice`);
    played.applied.set(sequence, clock.now());
  };
  const singles = new InputReceiver();
  const runs = new RunReceiver();
  const back = new Line(clock, random, down, (message) => {
    const marks = decodeRunUntrusted(message);
    if (marks?.type !== "received" || !(pad instanceof RunSender)) return;
    for (const { sender, number } of marks.marks) pad.received(sender, number);
  });
  const there = new Line(clock, random, up, (message) => {
    const run = decodeRunUntrusted(message);
    if (run?.type === "run") {
      for (const { sequence } of runs.receive(run)) apply(sequence);
      back.send(encodeMarks("received", [{ sender: run.sender, number: runs.received }]));
    } else {
      const single = decodeUntrusted(message);
      if (single !== null) for (const { sequence } of singles.receive(single)) apply(sequence);
    }
  });
  const repaired = new RepairedLine(clock, there, up.delay + down.delay);
  const counted = (line: { send(message: Uint8Array): true }) => (message: Uint8Array) => {
    played.messages += 1;
    played.bytes += message.length;
    played.largest = Math.max(played.largest, message.length);
    return line.send(message);
  };
  const pad: Sender =
    way === "runs"
      ? new RunSender(counted(there), clock, 1, random.bits())
      : new InputSender(counted(repaired), clock, 1);
  for (let change = 0; change < count; change += 1) {
    clock.advance(interval * (0.5 + random.share()));
    played.pressed.push(clock.now());
    pad.set(change % 8, 1 + Math.floor(change / 8)); // never the same value twice
  }
  clock.advance(LIFETIME + 1_000);
  pad.close();
  return played;
}

/** How old the inputs were when the game got them, in milliseconds, youngest first. Those it never got are left out. */
export function ages({ pressed, applied }: Played): number[] {
  return [...applied].map(([sequence, at]) => at - (pressed[sequence - 1] ?? NaN)).sort((a, b) => a - b);
}

export function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(Math.ceil(sorted.length * share), sorted.length) - 1] ?? NaN;
}
