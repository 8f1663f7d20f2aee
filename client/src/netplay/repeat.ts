/**
 * The two ends of a channel of runs: one says every change again until it is acknowledged, the other applies each
 * once and in order. The channel may lose, reorder and double messages as it likes.
 */

import type { Clock, Timer } from "./clock.js";
import { HeldInputs, type Input, type Send, Sender } from "./input.js";
import { type Change, MAX_RUN, RESET, type Run, encodeRun } from "./runs.js";

/** Between repetitions while something is unacknowledged, in milliseconds. */
export const REPEAT_INTERVAL = 1_000 / 60;
/** Between messages while nothing is: the host hears that we are here, we hear that it is. In milliseconds. */
export const KEEP_ALIVE_INTERVAL = 1_000;
/**
 * When the oldest unacknowledged change is this old, in milliseconds, or there are this many, none of them is sent any
 * more: who comes back from a dead line does not want the last seconds replayed. The host then lets go of everything
 * and hears what is held now.
 */
export const GIVE_UP = 3_000;
export const MAX_UNACKNOWLEDGED = 256;

interface Pending extends Change {
  readonly player: number;
  /** When it was made. */
  readonly at: number;
}

/** The sending end of runs: one controller. */
export class RunSender extends Sender {
  readonly #send: Send;
  readonly #clock: Clock;
  readonly #id: number;
  /** Unacknowledged changes, oldest first; the last one's number is {@link #number}. */
  #pending: Pending[] = [];
  #number = 0;
  /** Number of the last change that was put on the channel. */
  #sent = 0;
  #timer: Timer = null;

  /** `id` is 32 bits that no other sender of the room has, `held` what is held down already. */
  constructor(send: Send, clock: Clock, player: number, id: number, held: readonly Change[] = []) {
    super(clock, player, held);
    this.#send = send;
    this.#clock = clock;
    this.#id = id;
    this.transmit(held); // in the first message, so that the host need not let go of them
  }

  get id(): number {
    return this.#id;
  }

  get unacknowledged(): number {
    return this.#pending.length;
  }

  /** The host has got our changes up to this one. */
  received(sender: number, number: number): void {
    const gone = this.#pending.length - (this.#number - number);
    if (sender !== this.#id || number > this.#number || gone <= 0) return;
    this.#pending.splice(0, gone);
    // What is next did not fit into the last message: it need not wait for the timer.
    if (this.#pending.length > 0 && number >= this.#sent) this.#flush();
    else if (this.#pending.length === 0) this.#rest();
  }

  /** Send no more. */
  close(): void {
    this.#clock.clearTimeout(this.#timer);
    this.clear();
  }

  protected transmit(changes: readonly Change[]): void {
    for (const change of changes) this.#queue(change);
    if (this.#pending.length > MAX_UNACKNOWLEDGED) this.#giveUp();
    this.#flush();
  }

  #queue({ index, value }: Change): void {
    this.#number += 1;
    const at = this.#clock.now();
    this.#pending.push({ index, value, player: this.player, at });
    if (index !== RESET) this.made(this.#number);
  }

  #giveUp(): void {
    this.#pending = [];
    this.#queue({ index: RESET, value: 0 });
    for (const change of this.held()) this.#queue(change);
  }

  #flush(): void {
    const oldest = this.#pending[0];
    if (oldest !== undefined && this.#clock.now() - oldest.at >= GIVE_UP) this.#giveUp();
    const player = this.#pending[0]?.player ?? this.player;
    // A run is of one seat: what was done in the next one follows when this one has arrived.
    const moved = this.#pending.findIndex((change) => change.player !== player);
    const changes = this.#pending.slice(0, moved < 0 ? MAX_RUN : Math.min(moved, MAX_RUN));
    const first = this.#number - this.#pending.length + 1;
    if (this.#send(encodeRun({ player, sender: this.#id, first, changes })))
      this.#sent = Math.max(this.#sent, first + changes.length - 1);
    this.#rest();
  }

  #rest(): void {
    this.#clock.clearTimeout(this.#timer);
    const interval = this.#pending.length > 0 ? REPEAT_INTERVAL : KEEP_ALIVE_INTERVAL;
    this.#timer = this.#clock.setTimeout(() => this.#flush(), interval);
  }
}

/** The receiving end of one sender's runs. */
export class RunReceiver extends HeldInputs {
  /** The channel that was last heard, and for whom. */
  channel = "";
  player = -1;
  #received = 0;

  /** Everything up to this change has been applied, or given up by the sender. */
  get received(): number {
    return this.#received;
  }

  /** The changes of a run that are news, in order, resets unfolded. */
  receive({ player, first, changes }: Run): Input[] {
    // A run that begins later than expected means that its sender has given up on what is between.
    const before = Math.max(this.#received, first - 1);
    const news: Input[] = [];
    changes.forEach(({ index, value }, place) => {
      const sequence = first + place;
      if (sequence <= before) return;
      const inputs = index === RESET ? this.held() : [{ player, index }];
      for (const input of inputs) {
        const level = index === RESET ? 0 : value;
        this.hold(input.player, input.index, level);
        news.push({ sequence, ...input, value: level });
      }
    });
    this.#received = Math.max(before, first + changes.length - 1);
    return news;
  }
}
