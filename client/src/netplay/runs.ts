/**
 * Runs: the binary form of inputs between this module's own ends. A lossy channel needs no retransmission if every
 * message says again what was not acknowledged yet; see docs/protocols/inputs.md.
 *
 * A *run* is a row of consecutively numbered changes of one sender. All numbers are unsigned and big-endian:
 *
 *     run      | 1 | 1 | player | count | sender (32) | number of the first change (32) | changes ...
 *     received | 1 | 2 | sender (32) | number (32) | ... up to 16 such pairs
 *     shown    | 1 | 3 | as received
 *
 * The first byte is the version: `{`, with which the JSON forms begin, is another. A change is one byte, the index in
 * its low five bits, the form of the value above: 0 released, 1 pressed, 2 a signed 16-bit value follows.
 */

import { INPUT_COUNT, MAX_VALUE } from "./input.js";

export const RUN_VERSION = 1;
/** What the host's data channel calls itself, if the host takes runs. */
export const RUN_PROTOCOL = "netplay-runs/1";
/** Changes in one message. With the longest form of each that makes {@link MAX_RUN_BYTES}. */
export const MAX_RUN = 128;
export const MAX_RUN_BYTES = 12 + 3 * MAX_RUN;
/** Senders one acknowledgement names. */
export const MAX_MARKS = 16;
/** An index beyond all inputs: everything this sender holds down is let go. */
export const RESET = 31;

const RUN = 1;
const RECEIVED = 2;
const SHOWN = 3;
const HEADER = 12;
const MARK = 8;
const LAST_PLAYER = 7;

export interface Change {
  /** 0 to 29, or {@link RESET}. */
  readonly index: number;
  readonly value: number;
}

export interface Run {
  readonly type: "run";
  readonly player: number;
  /** Tells senders apart; chosen at random. */
  readonly sender: number;
  /** Number of the first change, or of the next one if there are none; from 1. */
  readonly first: number;
  readonly changes: readonly Change[];
}

/** Up to which change a host has got a sender's, without a gap. */
export interface Mark {
  readonly sender: number;
  readonly number: number;
}

export interface Marks {
  /** `received`: need not be sent again. `shown`: is in a painted frame. */
  readonly type: "received" | "shown";
  readonly marks: readonly Mark[];
}

export function encodeRun({ player, sender, first, changes }: Omit<Run, "type">): Uint8Array {
  const bytes = new Uint8Array(HEADER + 3 * changes.length);
  const view = new DataView(bytes.buffer);
  bytes.set([RUN_VERSION, RUN, player, changes.length]);
  view.setUint32(4, sender);
  view.setUint32(8, first);
  let at = HEADER;
  for (const { index, value } of changes) {
    const form = value === 0 || value === 1 ? value : 2;
    bytes[at++] = index | (form << 5);
    if (form < 2) continue;
    view.setInt16(at, value);
    at += 2;
  }
  return bytes.subarray(0, at);
}

export function encodeMarks(type: Marks["type"], marks: readonly Mark[]): Uint8Array {
  const bytes = new Uint8Array(2 + MARK * marks.length);
  const view = new DataView(bytes.buffer);
  bytes.set([RUN_VERSION, type === "received" ? RECEIVED : SHOWN]);
  marks.forEach(({ sender, number }, place) => {
    view.setUint32(2 + MARK * place, sender);
    view.setUint32(6 + MARK * place, number);
  });
  return bytes;
}

/** Read one message; null for whatever is not exactly one of this version. */
export function decodeRunUntrusted(data: unknown): Run | Marks | null {
  const view =
    data instanceof ArrayBuffer
      ? new DataView(data)
      : ArrayBuffer.isView(data)
        ? new DataView(data.buffer, data.byteOffset, data.byteLength)
        : null;
  if (view === null || view.byteLength < 2 || view.byteLength > MAX_RUN_BYTES) return null;
  if (view.getUint8(0) !== RUN_VERSION) return null;
  const kind = view.getUint8(1);
  if (kind === RUN) return run(view);
  return kind === RECEIVED || kind === SHOWN ? marks(view, kind === RECEIVED ? "received" : "shown") : null;
}

function run(view: DataView): Run | null {
  if (view.byteLength < HEADER) return null;
  const player = view.getUint8(2);
  const count = view.getUint8(3);
  const first = view.getUint32(8);
  if (player > LAST_PLAYER || count > MAX_RUN || first === 0) return null;
  const changes: Change[] = [];
  let at = HEADER;
  while (changes.length < count) {
    if (at >= view.byteLength) return null;
    const byte = view.getUint8(at++);
    const index = byte & 0x1f;
    let value = byte >> 5;
    if (value === 2) {
      if (at + 2 > view.byteLength) return null;
      value = view.getInt16(at);
      at += 2;
    } else if (value > 2) return null;
    if ((index >= INPUT_COUNT && index !== RESET) || value < -MAX_VALUE) return null;
    changes.push({ index, value });
  }
  return at === view.byteLength ? { type: "run", player, sender: view.getUint32(4), first, changes } : null;
}

function marks(view: DataView, type: Marks["type"]): Marks | null {
  const count = (view.byteLength - 2) / MARK;
  if (!Number.isInteger(count) || count < 1 || count > MAX_MARKS) return null;
  return {
    type,
    marks: Array.from({ length: count }, (_, place) => ({
      sender: view.getUint32(2 + MARK * place),
      number: view.getUint32(6 + MARK * place),
    })),
  };
}
