/**
 * Live numbers, from what the browser counts about its connections (W3C "Identifiers for WebRTC's Statistics API").
 * {@link summarize} is pure: two snapshots in, rates out.
 */

import type { Clock, Timer } from "./clock.js";
import type { MediaSession } from "./media.js";

/** How often the sampler looks, in milliseconds. */
export const SAMPLE_INTERVAL = 1_000;

/** Counters of all transports at one moment. */
export interface Snapshot {
  /** Milliseconds on the injected clock. */
  readonly at: number;
  readonly framesSent: number;
  readonly framesDecoded: number;
  readonly framesDropped: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly packetsLost: number;
  readonly packetsReceived: number;
  /** What the other end counts of what we send. */
  readonly sentLost: number;
  readonly packetsSent: number;
  /** Times the picture stood still for much longer than usual, and how long in seconds. */
  readonly freezes: number;
  readonly frozen: number;
  /** Summed seconds frames spent in the jitter buffer, and how many left it. */
  readonly bufferDelay: number;
  readonly bufferEmitted: number;
  /** The slowest transport's, in seconds; null before the first measurement. */
  readonly roundTrip: number | null;
  readonly width: number;
  readonly height: number;
  readonly codec: string | null;
  /** `udp` or `tcp`; null before a candidate pair was chosen. */
  readonly protocol: string | null;
}

/** What people look at. Rates are over the last interval. */
export interface LiveStats {
  /** Frames per second, sent by a host, decoded by the others. */
  readonly fps: number;
  /** Bits per second in the busier direction. */
  readonly bitrate: number;
  /** Milliseconds to the server and back. */
  readonly roundTrip: number | null;
  /** Milliseconds a frame waited in the jitter buffer on average. */
  readonly buffered: number | null;
  /** Percent of packets that never came, at us or, at a host, at the server. */
  readonly loss: number;
  /** Times the picture stood still for much longer than usual since the transports were made. */
  readonly freezes: number;
  /** Percent of the last interval that it did. */
  readonly frozen: number;
  /** Milliseconds from an input to the host's "applied", averaged; null until measured. */
  readonly inputDelay: number | null;
  readonly width: number;
  readonly height: number;
  readonly codec: string | null;
  readonly protocol: string | null;
}

type Row = Record<string, unknown>;
type Counter =
  | "framesSent"
  | "framesDecoded"
  | "bytesSent"
  | "bytesReceived"
  | "bufferDelay"
  | "bufferEmitted"
  | "packetsReceived"
  | "packetsSent"
  | "frozen";

const EMPTY: Omit<Snapshot, "at"> = {
  framesSent: 0,
  framesDecoded: 0,
  framesDropped: 0,
  bytesSent: 0,
  bytesReceived: 0,
  packetsLost: 0,
  packetsReceived: 0,
  sentLost: 0,
  packetsSent: 0,
  freezes: 0,
  frozen: 0,
  bufferDelay: 0,
  bufferEmitted: 0,
  roundTrip: null,
  width: 0,
  height: 0,
  codec: null,
  protocol: null,
};

/** Add up the reports of all transports. */
export function collect(reports: readonly Iterable<[string, unknown]>[], at: number): Snapshot {
  const total: { -readonly [Key in keyof Snapshot]: Snapshot[Key] } = { ...EMPTY, at };
  for (const report of reports) {
    const rows = new Map(report) as Map<string, Row>;
    for (const row of rows.values()) {
      if (row["type"] === "outbound-rtp") {
        total.bytesSent += number(row["bytesSent"]) + number(row["headerBytesSent"]);
        total.packetsSent += number(row["packetsSent"]);
        // Of simulcast's sizes the liveliest counts, not their sum.
        total.framesSent = Math.max(total.framesSent, number(row["framesSent"]));
      } else if (row["type"] === "remote-inbound-rtp") {
        total.sentLost += number(row["packetsLost"]);
      } else if (row["type"] === "inbound-rtp") {
        total.bytesReceived += number(row["bytesReceived"]) + number(row["headerBytesReceived"]);
        total.packetsLost += number(row["packetsLost"]);
        total.packetsReceived += number(row["packetsReceived"]);
        total.framesDecoded += number(row["framesDecoded"]);
        total.framesDropped += number(row["framesDropped"]);
        total.freezes += number(row["freezeCount"]);
        total.frozen += number(row["totalFreezesDuration"]);
        if (row["kind"] === "video") {
          total.bufferDelay += number(row["jitterBufferDelay"]);
          total.bufferEmitted += number(row["jitterBufferEmittedCount"]);
        }
      } else if (row["type"] === "transport") {
        const pair = rows.get(String(row["selectedCandidatePairId"]));
        const roundTrip = pair?.["currentRoundTripTime"];
        if (typeof roundTrip === "number") total.roundTrip = Math.max(total.roundTrip ?? 0, roundTrip);
        const remote = rows.get(String(pair?.["remoteCandidateId"]));
        if (typeof remote?.["protocol"] === "string") total.protocol = remote["protocol"];
      }
      if ((row["type"] === "outbound-rtp" || row["type"] === "inbound-rtp") && row["kind"] === "video") {
        total.width = Math.max(total.width, number(row["frameWidth"]));
        total.height = Math.max(total.height, number(row["frameHeight"]));
        const mimeType = rows.get(String(row["codecId"]))?.["mimeType"];
        if (typeof mimeType === "string") total.codec = mimeType.replace(/^video\//, "");
      }
    }
  }
  return total;
}

/** Rates between two snapshots. Counters that went back (new transports) count from zero. */
export function summarize(before: Snapshot, now: Snapshot, inputDelay: number | null): LiveStats {
  const seconds = Math.max(now.at - before.at, 1) / 1_000;
  const delta = (key: Counter): number => (now[key] >= before[key] ? now[key] - before[key] : now[key]);
  const emitted = delta("bufferEmitted");
  // Packets that come after they were given up make a count of losses sink, which is no new beginning.
  const lost = (key: "packetsLost" | "sentLost", whole: "packetsReceived" | "packetsSent"): number =>
    now[whole] >= before[whole] ? Math.max(now[key] - before[key], 0) : now[key];
  const missed = lost("packetsLost", "packetsReceived");
  const received = share(missed, missed + delta("packetsReceived"));
  return {
    fps: Math.max(delta("framesSent"), delta("framesDecoded")) / seconds,
    bitrate: (Math.max(delta("bytesSent"), delta("bytesReceived")) * 8) / seconds,
    roundTrip: now.roundTrip === null ? null : now.roundTrip * 1_000,
    buffered: emitted > 0 ? (delta("bufferDelay") / emitted) * 1_000 : null,
    loss: Math.max(received, share(lost("sentLost", "packetsSent"), delta("packetsSent"))),
    freezes: now.freezes,
    frozen: Math.min((delta("frozen") / seconds) * 100, 100),
    inputDelay,
    width: now.width,
    height: now.height,
    codec: now.codec,
    protocol: now.protocol,
  };
}

function share(part: number, whole: number): number {
  return whole > 0 ? Math.min((part / whole) * 100, 100) : 0;
}

function number(value: unknown): number {
  return typeof value === "number" && Number.isFinite(value) ? value : 0;
}

/** Samples a media session at {@link SAMPLE_INTERVAL} until stopped. */
export class StatsSampler {
  readonly #media: MediaSession;
  readonly #clock: Clock;
  readonly #inputDelay: () => number | null;
  readonly #report: (stats: LiveStats) => void;
  #before: Snapshot | null = null;
  #timer: Timer = null;
  #stopped = false;

  constructor(
    media: MediaSession,
    clock: Clock,
    inputDelay: () => number | null,
    report: (stats: LiveStats) => void,
  ) {
    this.#media = media;
    this.#clock = clock;
    this.#inputDelay = inputDelay;
    this.#report = report;
    this.#schedule();
  }

  stop(): void {
    this.#stopped = true;
    this.#clock.clearTimeout(this.#timer);
  }

  #schedule(): void {
    this.#timer = this.#clock.setTimeout(() => void this.#sample(), SAMPLE_INTERVAL);
  }

  async #sample(): Promise<void> {
    const transports = this.#media.graph?.transports.filter((transport) => !transport.closed) ?? [];
    const reports = await Promise.allSettled(transports.map((transport) => transport.getStats()));
    if (this.#stopped) return;
    const now = collect(
      reports.flatMap((report) =>
        report.status === "fulfilled" ? [report.value as Iterable<[string, unknown]>] : [],
      ),
      this.#clock.now(),
    );
    if (this.#before !== null) this.#report(summarize(this.#before, now, this.#inputDelay()));
    this.#before = now;
    this.#schedule();
  }
}
