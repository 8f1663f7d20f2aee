import assert from "node:assert/strict";
import { test } from "node:test";

import { collect, summarize } from "../src/netplay/stats.js";

const report = (...rows: Record<string, unknown>[]): Map<string, unknown> =>
  new Map(rows.map((row) => [String(row["id"]), row]));

const CONNECTION = [
  { id: "T", type: "transport", selectedCandidatePairId: "P" },
  { id: "P", type: "candidate-pair", currentRoundTripTime: 0.012, remoteCandidateId: "R" },
  { id: "R", type: "remote-candidate", protocol: "udp" },
  { id: "C", type: "codec", mimeType: "video/VP9" },
];

const inbound = (frames: number, bytes: number): Map<string, unknown> =>
  report(
    {
      id: "V",
      type: "inbound-rtp",
      kind: "video",
      framesDecoded: frames,
      bytesReceived: bytes,
      packetsLost: 0,
      packetsReceived: frames,
      jitterBufferDelay: frames * 0.02,
      jitterBufferEmittedCount: frames,
      frameWidth: 960,
      frameHeight: 540,
      codecId: "C",
    },
    ...CONNECTION,
  );

test("rates are what changed between two looks", () => {
  const stats = summarize(
    collect([inbound(60, 100_000)], 1_000),
    collect([inbound(120, 350_000)], 2_000),
    31,
  );
  assert.equal(stats.fps, 60);
  assert.equal(stats.bitrate, 2_000_000);
  assert.equal(stats.roundTrip, 12);
  assert.ok(Math.abs((stats.buffered ?? 0) - 20) < 1e-6);
  assert.deepEqual(
    [stats.width, stats.height, stats.codec, stats.protocol, stats.loss, stats.inputDelay],
    [960, 540, "VP9", "udp", 0, 31],
  );
});

test("counters that start over after a rebuild count from zero", () => {
  const stats = summarize(
    collect([inbound(600, 9_000_000)], 0),
    collect([inbound(30, 125_000)], 1_000),
    null,
  );
  assert.equal(stats.fps, 30);
  assert.equal(stats.bitrate, 1_000_000);
});

test("loss is a share of what was expected", () => {
  const at = (lost: number, received: number, time: number): ReturnType<typeof collect> =>
    collect(
      [report({ id: "V", type: "inbound-rtp", kind: "video", packetsLost: lost, packetsReceived: received })],
      time,
    );
  assert.equal(summarize(at(0, 0, 0), at(5, 95, 1_000), null).loss, 5);
});

test("the slowest transport gives the round trip, a missing one none", () => {
  const slow = report(
    { id: "T", type: "transport", selectedCandidatePairId: "P" },
    { id: "P", type: "candidate-pair", currentRoundTripTime: 0.08 },
  );
  assert.equal(collect([inbound(1, 1), slow], 0).roundTrip, 0.08);
  assert.equal(collect([report({ id: "T", type: "transport" })], 0).roundTrip, null);
  assert.equal(collect([], 0).roundTrip, null);
});

test("senders count what they send, video and audio together", () => {
  const at = (frames: number, time: number): ReturnType<typeof collect> =>
    collect(
      [
        report(
          { id: "V", type: "outbound-rtp", kind: "video", framesSent: frames, bytesSent: frames * 1_000 },
          {
            id: "A",
            type: "outbound-rtp",
            kind: "audio",
            bytesSent: frames * 100,
            headerBytesSent: frames * 25,
          },
        ),
      ],
      time,
    );
  const stats = summarize(at(0, 0), at(60, 1_000), null);
  assert.equal(stats.fps, 60);
  assert.equal(stats.bitrate, 60 * 1_125 * 8);
});

test("freezes are counted since the transports were made, and their share of the last interval", () => {
  const at = (count: number, seconds: number, time: number): ReturnType<typeof collect> =>
    collect(
      [
        report({
          id: "V",
          type: "inbound-rtp",
          kind: "video",
          freezeCount: count,
          totalFreezesDuration: seconds,
        }),
      ],
      time,
    );
  const stats = summarize(at(2, 1, 0), at(3, 1.25, 1_000), null);
  assert.deepEqual([stats.freezes, stats.frozen], [3, 25]);
});

test("a host's loss is what the server misses of all it sends; of several sizes one gives the frames", () => {
  const at = (packets: number, lost: number, time: number): ReturnType<typeof collect> => {
    const sizes = [0.25, 0.5, 1].map((size) => ({
      id: `V${size}`,
      type: "outbound-rtp",
      kind: "video",
      framesSent: packets * size,
      packetsSent: packets,
    }));
    return collect([report(...sizes, { id: "R", type: "remote-inbound-rtp", packetsLost: lost })], time);
  };
  const stats = summarize(at(0, 0, 0), at(100, 6, 1_000), null);
  assert.deepEqual([stats.fps, stats.loss], [100, 2]);
  // A count that sinks, because packets given up came after all, is no loss.
  assert.equal(summarize(at(100, 6, 0), at(200, 3, 1_000), null).loss, 0);
});
