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
 * The sending end: one controller. Only changes are sent; what is held down is sent again when a channel
 * (re)opens or the slot changes.
 */
export class InputSender extends Emitter<{ delay: number }> {
  readonly #send: Send;
  readonly #clock: Clock;
  readonly #values = new Map<number, number>();
  readonly #pending = new Map<number, number>();
  #player: number;
  #sequence = 0;

  constructor(send: Send, clock: Clock, player: number) {
    super();
    this.#send = send;
    this.#clock = clock;
    this.#player = player;
  }

  /** The slot inputs are sent for. Moving lets go of everything in the old one first. */
  get player(): number {
    return this.#player;
  }

  set player(player: number) {
    if (player === this.#player) return;
    for (const [index, value] of this.#values) if (value !== 0) this.#transmit(index, 0);
    this.#player = player;
    this.resend();
  }

  /** Set a button or axis; nothing is sent if it already has that value. */
  set(index: number, value: number): void {
    if ((this.#values.get(index) ?? 0) === value) return;
    this.#values.set(index, value);
    this.#transmit(index, value);
  }

  /** Let go of everything, as when the window loses the keyboard. */
  release(): void {
    for (const index of this.#values.keys()) this.set(index, 0);
  }

  /** Say again what is held down, for a channel that has just opened. */
  resend(): void {
    for (const [index, value] of this.#values) if (value !== 0) this.#transmit(index, value);
  }

  /**
   * The host applied our inputs up to this one. The time since it was sent is one sample of the input delay.
   */
  echoed(player: number, sequence: number): void {
    const sentAt = this.#pending.get(sequence);
    if (player !== this.#player || sentAt === undefined) return;
    for (const older of this.#pending.keys()) if (older <= sequence) this.#pending.delete(older);
    this.emit("delay", this.#clock.now() - sentAt);
  }

  get pending(): number {
    return this.#pending.size;
  }

  #transmit(index: number, value: number): void {
    this.#sequence += 1;
    if (!this.#send(encodeInput({ sequence: this.#sequence, player: this.#player, index, value }))) return;
    this.#pending.set(this.#sequence, this.#clock.now());
    for (const oldest of this.#pending.keys()) {
      if (this.#pending.size <= MAX_PENDING) break;
      this.#pending.delete(oldest);
    }
  }
}

/** The receiving end for one sender's channel: drops what was overtaken, unfolds snapshots, knows what is held. */
export class InputReceiver {
  readonly #latest = new Map<number, number>();
  readonly #values = new Map<number, number>();

  /** The inputs in a message that are news, in order. */
  receive(message: Message): Input[] {
    if (message.type === "input") {
      const key = keyOf(message.player, message.index);
      if (message.sequence !== 0 && message.sequence <= (this.#latest.get(key) ?? 0)) return [];
      this.#latest.set(key, message.sequence);
      this.#values.set(key, message.value);
      return [message];
    }
    if (message.type !== "snapshot") return [];
    const changes: Input[] = [];
    message.values.forEach((value, index) => {
      const key = keyOf(message.player, index);
      if ((this.#values.get(key) ?? 0) === value) return;
      this.#values.set(key, value);
      changes.push({ sequence: 0, player: message.player, index, value });
    });
    return changes;
  }

  /** What the sender holds down, as far as we know. */
  held(): { player: number; index: number }[] {
    return [...this.#values]
      .filter(([, value]) => value !== 0)
      .map(([key]) => ({ player: Math.floor(key / INPUT_COUNT), index: key % INPUT_COUNT }));
  }

  holds(player: number, index: number): boolean {
    return (this.#values.get(keyOf(player, index)) ?? 0) !== 0;
  }
}

function keyOf(player: number, index: number): number {
  return player * INPUT_COUNT + index;
}
