/**
 * Inputs on the wire, and the two ends of the pipeline.
 *
 * An input is one change of one button or axis of one player: UTF-8 JSON in a binary data channel message,
 * `{"t":"i","f":number,"s":slot,"p":player,"k":index,"v":value}`. Hosts of older clients apply `p`, `k`, `v` and
 * ignore `f`; here `f` numbers a sender's messages from 1, so that a host drops what was overtaken (channels are
 * unordered) and can answer it. Two more messages exist, which older clients drop as unknown:
 * `{"t":"e","p":player,"f":number}` from the host, "applied up to this one", and `{"t":"d","p":player,"v":milliseconds}` from a
 * player, "this is my input delay".
 */

import { Emitter } from "./emitter.js";
import type { Clock } from "./clock.js";

/** Inputs a controller has: 16 buttons, 8 half axes, 6 special keys. */
export const INPUT_COUNT = 30;
/** Largest magnitude of an axis; buttons are 0 or 1. */
export const MAX_VALUE = 32_767;
/** Largest player index: slots 0 to 7, and 8 for those who watch. */
export const MAX_PLAYER = 8;
/** Longest message looked at, in bytes; the longest legal snapshot is far below. */
export const MAX_MESSAGE = 1_024;
/** How many inputs may await their echo; older ones are forgotten. */
export const MAX_PENDING = 64;

/** Controller positions by name, in the order every libretro front end uses. */
export const BUTTONS = {
  b: 0,
  y: 1,
  select: 2,
  start: 3,
  up: 4,
  down: 5,
  left: 6,
  right: 7,
  a: 8,
  x: 9,
} as const;

export interface Input {
  /** The sender's message number; 0 from clients that do not count. */
  readonly sequence: number;
  readonly player: number;
  readonly index: number;
  /** 0 or 1 for buttons, -32767 to 32767 for axes. */
  readonly value: number;
}

export type Message =
  | ({ readonly type: "input" } & Input)
  | { readonly type: "snapshot"; readonly player: number; readonly values: readonly number[] }
  | { readonly type: "echo"; readonly player: number; readonly sequence: number }
  | { readonly type: "delay"; readonly player: number; readonly milliseconds: number };

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

export function encodeInput(input: Input): Uint8Array {
  const { sequence, player, index, value } = input;
  return encoder.encode(`{"t":"i","f":${sequence},"s":${player},"p":${player},"k":${index},"v":${value}}`);
}

export function encodeEcho(player: number, sequence: number): Uint8Array {
  return encoder.encode(`{"t":"e","p":${player},"f":${sequence}}`);
}

export function encodeDelay(player: number, milliseconds: number): Uint8Array {
  return encoder.encode(`{"t":"d","p":${player},"v":${Math.round(milliseconds)}}`);
}

/**
 * Read one message: ours, and the two text forms of the oldest client (`{player,index,value}`,
 * `{player,state:[30]}`). Anything else, whatever it is, gives null.
 */
export function decodeUntrusted(data: unknown): Message | null {
  const text = textOf(data);
  if (text === null) return null;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return null;
  const { t, f, p, k, v, player, index, value: level, state } = value as Record<string, unknown>;
  if (t === "i") return input(f, p, k, v);
  if (t === "e") {
    return integer(p, 0, MAX_PLAYER) && integer(f, 1, Number.MAX_SAFE_INTEGER)
      ? { type: "echo", player: p, sequence: f }
      : null;
  }
  if (t === "d") {
    return integer(p, 0, MAX_PLAYER) && integer(v, 0, 60_000)
      ? { type: "delay", player: p, milliseconds: v }
      : null;
  }
  if (t !== undefined) return null;
  if (Array.isArray(state)) {
    const legal = state.length === INPUT_COUNT && state.every((each) => integer(each, -MAX_VALUE, MAX_VALUE));
    return legal && integer(player, 0, MAX_PLAYER)
      ? { type: "snapshot", player, values: state as number[] }
      : null;
  }
  return input(0, player, index, level);
}

function input(sequence: unknown, player: unknown, index: unknown, value: unknown): Message | null {
  const legal =
    integer(sequence, 0, Number.MAX_SAFE_INTEGER) &&
    integer(player, 0, MAX_PLAYER) &&
    integer(index, 0, INPUT_COUNT - 1) &&
    integer(value, -MAX_VALUE, MAX_VALUE);
  return legal ? { type: "input", sequence, player, index, value } : null;
}

function integer(value: unknown, low: number, high: number): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= low && value <= high;
}

function textOf(data: unknown): string | null {
  if (typeof data === "string") return data.length <= MAX_MESSAGE ? data : null;
  const bytes =
    data instanceof ArrayBuffer
      ? new Uint8Array(data)
      : ArrayBuffer.isView(data)
        ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
        : null;
  if (bytes === null || bytes.byteLength > MAX_MESSAGE) return null;
  try {
    return decoder.decode(bytes);
  } catch {
    return null;
  }
}

/** Where messages go; false means that the channel is not open. */
export type Send = (message: Uint8Array) => boolean;

/**
 * The sending end: one controller. Only changes are sent; what is held down is said again when a channel (re)opens or
 * the slot changes. How they are sent is the subclass's.
 */
export abstract class Sender extends Emitter<{ delay: number }> {
  readonly #time: Clock;
  readonly #values = new Map<number, number>();
  /** When changes were made that nobody has seen in a frame yet, by number. */
  readonly #unseen = new Map<number, number>();
  #player: number;

  constructor(clock: Clock, player: number, held: readonly { index: number; value: number }[]) {
    super();
    this.#time = clock;
    this.#player = player;
    for (const { index, value } of held) this.#values.set(index, value);
  }

  /** Send these changes of the current player's controller; none says only which seat it is. */
  protected abstract transmit(changes: readonly { index: number; value: number }[]): void;

  /** Stop whatever goes on by itself. */
  abstract close(): void;

  /** The slot inputs are sent for. Moving lets go of everything in the old one first. */
  get player(): number {
    return this.#player;
  }

  set player(player: number) {
    if (player === this.#player) return;
    const held = this.held();
    if (held.length > 0) this.transmit(held.map(({ index }) => ({ index, value: 0 })));
    this.#player = player;
    this.resend();
  }

  /** Set a button or axis; nothing is sent if it already has that value. */
  set(index: number, value: number): void {
    if ((this.#values.get(index) ?? 0) === value) return;
    this.#values.set(index, value);
    this.transmit([{ index, value }]);
  }

  /** Let go of everything, as when the window loses the keyboard. */
  release(): void {
    for (const { index } of this.held()) this.set(index, 0);
  }

  /** Say again what is held down, for a channel that has just opened. */
  resend(): void {
    this.transmit(this.held());
  }

  /** What is held down. */
  held(): { index: number; value: number }[] {
    return [...this.#values].flatMap(([index, value]) => (value === 0 ? [] : [{ index, value }]));
  }

  /** Our changes up to this one are in a frame. The time since it was made is one sample of the input delay. */
  shown(number: number): void {
    const madeAt = this.#unseen.get(number);
    if (madeAt === undefined) return;
    for (const older of this.#unseen.keys()) if (older <= number) this.#unseen.delete(older);
    this.emit("delay", this.#time.now() - madeAt);
  }

  /** How many changes wait to be seen. */
  get pending(): number {
    return this.#unseen.size;
  }

  /** A change was made; {@link shown} will name its number. */
  protected made(number: number): void {
    this.#unseen.set(number, this.#time.now());
    for (const oldest of this.#unseen.keys()) {
      if (this.#unseen.size <= MAX_PENDING) break;
      this.#unseen.delete(oldest);
    }
  }
}

/** Sends each change once, as existing hosts read it; the channel has to see to its arrival. */
export class InputSender extends Sender {
  readonly #send: Send;
  #sequence = 0;

  constructor(
    send: Send,
    clock: Clock,
    player: number,
    held: readonly { index: number; value: number }[] = [],
  ) {
    super(clock, player, held);
    this.#send = send;
    this.transmit(held);
  }

  /** The host applied our inputs up to this one. */
  echoed(player: number, sequence: number): void {
    if (player === this.player) this.shown(sequence);
  }

  close(): void {
    this.clear();
  }

  protected transmit(changes: readonly { index: number; value: number }[]): void {
    for (const { index, value } of changes) {
      this.#sequence += 1;
      if (this.#send(encodeInput({ sequence: this.#sequence, player: this.player, index, value })))
        this.made(this.#sequence);
    }
  }
}

/** What a host knows to be held down by one sender. */
export class HeldInputs {
  readonly #values = new Map<number, number>();

  held(): { player: number; index: number }[] {
    return [...this.#values.keys()].map((key) => ({
      player: Math.floor(key / INPUT_COUNT),
      index: key % INPUT_COUNT,
    }));
  }

  holds(player: number, index: number): boolean {
    return this.#values.has(keyOf(player, index));
  }

  /** Believe that nothing is held down any more, by this player if one is given; tells what was. */
  forget(player?: number): { player: number; index: number }[] {
    const gone = this.held().filter((each) => player === undefined || each.player === player);
    for (const each of gone) this.#values.delete(keyOf(each.player, each.index));
    return gone;
  }

  protected hold(player: number, index: number, value: number): void {
    if (value === 0) this.#values.delete(keyOf(player, index));
    else this.#values.set(keyOf(player, index), value);
  }

  protected level(player: number, index: number): number {
    return this.#values.get(keyOf(player, index)) ?? 0;
  }
}

/** The receiving end for one sender's channel: drops what was overtaken, unfolds snapshots, knows what is held. */
export class InputReceiver extends HeldInputs {
  readonly #latest = new Map<number, number>();

  /** The inputs in a message that are news, in order. */
  receive(message: Message): Input[] {
    if (message.type === "input") {
      const { player, index, value, sequence } = message;
      const key = keyOf(player, index);
      if (sequence !== 0 && sequence <= (this.#latest.get(key) ?? 0)) return [];
      this.#latest.set(key, sequence);
      this.hold(player, index, value);
      return [message];
    }
    if (message.type !== "snapshot") return [];
    const { player } = message;
    const changes: Input[] = [];
    message.values.forEach((value, index) => {
      if (this.level(player, index) === value) return;
      this.hold(player, index, value);
      changes.push({ sequence: 0, player, index, value });
    });
    return changes;
  }
}

function keyOf(player: number, index: number): number {
  return player * INPUT_COUNT + index;
}
