/** One user's transports when they fail: what is asked of the server, in which order, and when. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeMediaStreamTrack } from "fake-mediastreamtrack";
import { Device, type types } from "mediasoup-client";
import * as parameters from "mediasoup-client/fakeParameters";
import { FakeHandler } from "mediasoup-client/handlers/FakeHandler";

import { FakeClock, FakeIo, settle } from "./fakes.js";
import { MAX_CONSUMERS, MESSAGE_LIFETIME, MediaGraph, type VideoOptions } from "../src/netplay/graph.js";
import { MAX_REBUILD_DELAY, MediaSession, REBUILD_DELAY, REOPEN_DELAY } from "../src/netplay/media.js";
import { CONNECT, SETTLE, WAIT } from "../src/netplay/recovery.js";
import { RUN_PROTOCOL } from "../src/netplay/runs.js";
import { Signaling } from "../src/netplay/signaling.js";

async function quiet(): Promise<void> {
  for (let turn = 0; turn < 10; turn += 1) {
    await settle();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

interface Rig {
  media: MediaSession;
  io: FakeIo;
  clock: FakeClock;
  signaling: Signaling;
  device: Device;
  states: string[];
}

async function rig(): Promise<Rig> {
  const io = new FakeIo();
  const clock = new FakeClock();
  const signaling = new Signaling({
    url: "http://server",
    io: io.factory,
    clock,
    token: () => Promise.resolve("token"),
  });
  await signaling.connect();
  io.answers.set("sfu-create-transport", () => [null, parameters.generateTransportRemoteParameters()]);
  io.answers.set("sfu-get-producers", () => [null, [{ id: "video-1", kind: "video" }]]);
  io.answers.set("sfu-consume", ({ producerId }) => [
    null,
    { ...parameters.generateConsumerRemoteParameters({ codecMimeType: "video/VP8" }), producerId },
  ]);
  io.answers.set("consumedata", ({ dataProducerId }) => [
    null,
    {
      ...parameters.generateDataConsumerRemoteParameters(),
      dataProducerId,
      label: dataProducerId === "odd" ? "other" : "netplay-state",
    },
  ]);
  io.answers.set("sfu-restart-ice", () => [
    null,
    { iceParameters: { usernameFragment: "u", password: "p" } },
  ]);
  const device = new Device({ handlerFactory: FakeHandler.createFactory(parameters) });
  await device.load({ routerRtpCapabilities: parameters.generateRouterRtpCapabilities() });
  const media = new MediaSession(signaling, device, { receiveMedia: true, receiveData: [] }, clock);
  const states: string[] = [];
  media.on("state", (state) => states.push(state));
  return { media, io, clock, signaling, device, states };
}

/** A session whose one transport is connected, and a way to change that. */
async function connected(): Promise<Rig & { become: (state: types.ConnectionState) => void }> {
  const made = await rig();
  const become = (state: types.ConnectionState): void => {
    const transport = made.media.graph?.transports[0];
    (transport?.handler as unknown as FakeHandler).setConnectionState(state);
  };
  await made.media.rebuild();
  become("connected");
  await quiet();
  made.io.sent.length = 0;
  return { ...made, become };
}

test("a transport that comes back by itself is left alone", async () => {
  const { media, io, clock, become, states } = await connected();
  become("disconnected");
  clock.advance(WAIT - 1);
  become("connected");
  clock.advance(60_000);
  await quiet();
  assert.deepEqual(io.names(), []);
  assert.deepEqual(states, ["connected", "recovering", "connected"]);
  media.close();
});

test("a transport that stays away gets new ICE credentials, once", async () => {
  const { media, io, clock, become } = await connected();
  become("disconnected");
  clock.advance(WAIT);
  await quiet();
  become("connecting");
  become("connected");
  clock.advance(60_000);
  await quiet();
  assert.deepEqual(io.names(), ["sfu-restart-ice"]);
  assert.deepEqual(media.counters, { restarts: 1, builds: 1 });
  assert.equal(media.state, "connected");
  media.close();
});

test("a transport that a restart does not bring back is replaced", async () => {
  const { media, io, clock, become } = await connected();
  become("failed");
  await quiet();
  clock.advance(SETTLE);
  await quiet();
  assert.deepEqual(io.names().slice(0, 2), ["sfu-restart-ice", "sfu-recreate-transports"]);
  assert.ok(io.names().includes("sfu-consume"));
  assert.deepEqual(media.counters, { restarts: 1, builds: 2 });
  media.close();
});

test("a transport that the server does not know any more is replaced at once", async () => {
  const { media, io, become } = await connected();
  io.answers.set("sfu-restart-ice", () => ["transport not found"]);
  become("failed");
  await quiet();
  assert.equal(media.counters.builds, 2);
  media.close();
});

test("a transport that never connects is replaced", async () => {
  const { media, clock, become } = await connected();
  await media.rebuild();
  become("connecting");
  clock.advance(CONNECT);
  await quiet();
  assert.deepEqual(media.counters, { restarts: 0, builds: 3 });
  media.close();
});

test("without a link nothing is torn down", async () => {
  const { media, io, become } = await connected();
  const { graph } = media;
  io.drop();
  become("failed");
  await quiet();
  await media.rebuild();
  assert.equal(media.graph, graph);
  assert.equal(media.counters.builds, 1);
  io.connect();
  await settle();
  await media.rebuild();
  assert.equal(media.counters.builds, 2);
  media.close();
});

test("restarting a healthy transport leaves it connected and no timer behind", async () => {
  const { media, io, clock } = await connected();
  media.networkChanged();
  await quiet();
  assert.deepEqual(io.names(), ["sfu-restart-ice"]);
  clock.advance(60_000);
  await quiet();
  assert.deepEqual(media.counters, { restarts: 1, builds: 1 });
  media.close();
  assert.equal(clock.timers, 0);
});

/** A player's session with a host that takes runs, and what its channels are. */
async function player(protocol = RUN_PROTOCOL): Promise<Rig & { channels: () => Record<string, unknown>[] }> {
  const made = await rig();
  made.io.answers.set("sfu-get-data-producers", () => [null, [{ id: "state" }]]);
  made.io.answers.set("consumedata", ({ dataProducerId }) => [
    null,
    {
      ...parameters.generateDataConsumerRemoteParameters(),
      dataProducerId,
      label: "netplay-state",
      protocol,
    },
  ]);
  let produced = 0;
  made.io.answers.set("producedata", () => [null, `data-${(produced += 1)}`]);
  await made.media.rebuild({
    sendData: "netplay-input",
    sendRuns: { label: "netplay-runs", protocol: RUN_PROTOCOL },
    receiveMedia: false,
    receiveData: ["netplay-state"],
  });
  await quiet();
  const channels = (): Record<string, unknown>[] =>
    made.io.sent
      .filter(({ name }) => name === "producedata")
      .map(({ payload }) => payload as Record<string, unknown>);
  return { ...made, channels };
}

/** The server closes a data channel, as the browser shows it. */
function closeChannel(end: types.DataProducer | types.DataConsumer | null | undefined): void {
  const channel = (end as unknown as { _dataChannel: { dispatchEvent(event: object): void } })._dataChannel;
  channel.dispatchEvent({ type: "close" });
}

test("a player opens a channel for runs, never sent again, if and only if the host takes them", async () => {
  const { media, channels } = await player();
  assert.deepEqual(
    channels().map(({ label, sctpStreamParameters }) => [
      label,
      (sctpStreamParameters as types.SctpStreamParameters).maxRetransmits,
      (sctpStreamParameters as types.SctpStreamParameters).maxPacketLifeTime,
    ]),
    [
      ["netplay-input", undefined, MESSAGE_LIFETIME],
      ["netplay-runs", 0, undefined],
    ],
  );
  media.announcedData({ id: "another state", label: "netplay-state" });
  await quiet();
  assert.equal(channels().length, 2);
  media.close();
  for (const protocol of ["", "json", "netplay-runs/2"]) {
    const old = await player(protocol);
    assert.deepEqual(
      old.channels().map(({ label }) => label),
      ["netplay-input"],
    );
    old.media.close();
  }
});

test("a server that wants no channel for runs is obeyed", async () => {
  const { media, io } = await player("");
  io.answers.set("producedata", ({ label }) => (label === "netplay-runs" ? ["too many"] : [null, "data"]));
  io.answers.set("consumedata", ({ dataProducerId }) => [
    null,
    {
      ...parameters.generateDataConsumerRemoteParameters(),
      dataProducerId,
      label: "netplay-state",
      protocol: RUN_PROTOCOL,
    },
  ]);
  const builds = media.counters.builds;
  const troubles: Error[] = [];
  media.on("trouble", (error) => troubles.push(error));
  media.announcedData({ id: "new state", label: "netplay-state" });
  await quiet();
  assert.deepEqual([troubles, media.counters.builds], [[], builds]);
  media.close();
});

test("a data channel that the server closes is opened again, on the same transports", async () => {
  const { media, clock, channels } = await player();
  const labels = (): unknown[] => channels().map(({ label }) => label);
  closeChannel(media.graph?.channel("netplay-runs"));
  assert.equal(media.graph?.channel("netplay-runs")?.closed, true);
  assert.equal(media.sendData(new Uint8Array(1), "netplay-runs"), false);
  clock.advance(REOPEN_DELAY - 1);
  await quiet();
  assert.equal(channels().length, 2);
  clock.advance(1);
  await quiet();
  assert.deepEqual(labels().slice(2), ["netplay-runs"]);
  assert.equal(media.graph?.channel("netplay-runs")?.closed, false);
  closeChannel(media.graph?.channel("netplay-input"));
  clock.advance(REOPEN_DELAY);
  await quiet();
  assert.deepEqual(labels().slice(2), ["netplay-runs", "netplay-input"]);
  assert.equal(media.counters.builds, 1);
  media.close();
  clock.advance(REOPEN_DELAY);
  await quiet();
  assert.equal(channels().length, 4);
});

test("a channel from the host that closes is consumed again, unless the host closed it", async () => {
  const { media, io, clock } = await player();
  const consumed = (): number => io.names().filter((name) => name === "consumedata").length;
  const heard: string[] = [];
  media.on("dataClosed", ({ channel }) => heard.push(`closed ${channel}`));
  media.on("dataOpened", ({ channel }) => heard.push(`opened ${channel}`));
  closeChannel(media.graph?.dataConsumer("state"));
  clock.advance(REOPEN_DELAY);
  await quiet();
  assert.equal(consumed(), 2);
  assert.deepEqual(heard, ["closed state", "opened state"]);
  closeChannel(media.graph?.dataConsumer("state"));
  media.producerClosed("state"); // its notice may come after
  clock.advance(REOPEN_DELAY);
  await quiet();
  assert.equal(consumed(), 2);
  assert.equal(heard.length, 3);
  media.close();
});

test("a rebuild keeps what there is until the server has answered", async () => {
  const { media, io, become } = await connected();
  const { graph } = media;
  let answer: unknown[] = ["worker not available"];
  io.answers.set("sfu-recreate-transports", () => answer);
  const rebuilt = media.rebuild();
  become("failed"); // which it may well, as the server has dropped it
  await quiet();
  assert.equal(media.graph, graph);
  assert.equal(media.counters.restarts, 0);
  answer = [null, {}];
  media.close();
  await Promise.race([rebuilt, quiet()]);
});

test("simulcast is sizes from small to large, in a codec that has them, and nothing without being asked for", async () => {
  const { io, signaling, device } = await rig();
  const encodings = async (videoOptions: VideoOptions): Promise<object[]> => {
    const video = new FakeMediaStreamTrack({ kind: "video" }) as unknown as MediaStreamTrack;
    const graph = new MediaGraph(signaling, device, {
      video,
      videoOptions,
      receiveMedia: false,
      receiveData: [],
    });
    await graph.build();
    const options = io.sent.filter(({ name }) => name === "sfu-produce").at(-1)?.payload as {
      rtpParameters: types.RtpParameters;
    };
    graph.close();
    assert.equal(options.rtpParameters.codecs[0]?.mimeType.toLowerCase(), "video/vp8");
    return (options.rtpParameters.encodings ?? []).map(({ scaleResolutionDownBy, maxBitrate }) => ({
      scaleResolutionDownBy,
      maxBitrate,
    }));
  };
  io.answers.set("sfu-produce", () => [null, "producer"]);
  assert.deepEqual(await encodings({ codec: "vp8", maxBitrate: 1_000_000 }), [
    { scaleResolutionDownBy: undefined, maxBitrate: 1_000_000 },
  ]);
  assert.deepEqual(await encodings({ codec: "vp9", maxBitrate: 3_000_000, simulcast: 3 }), [
    { scaleResolutionDownBy: 4, maxBitrate: 270_000 },
    { scaleResolutionDownBy: 2, maxBitrate: 900_000 },
    { scaleResolutionDownBy: 1, maxBitrate: 3_000_000 },
  ]);
  assert.equal((await encodings({ simulcast: 2 })).length, 2);
});

test("a build that fails is tried again, less and less often", async () => {
  const { media, io, clock } = await rig();
  io.answers.set("sfu-create-transport", () => ["worker not available"]);
  const built = media.rebuild();
  const attempts = (): number => io.names().filter((name) => name === "sfu-create-transport").length;
  let delay = REBUILD_DELAY;
  for (let attempt = 1; attempt <= 12; attempt += 1) {
    await quiet();
    assert.equal(attempts(), attempt);
    clock.advance(delay - 1);
    await quiet();
    assert.equal(attempts(), attempt);
    clock.advance(1);
    delay = Math.min(1.5 * delay, MAX_REBUILD_DELAY);
  }
  await quiet();
  media.close();
  clock.advance(MAX_REBUILD_DELAY);
  await built;
});

test("rebuilds asked for during a build become one", async () => {
  const { media } = await rig();
  await Promise.all([media.rebuild(), media.rebuild(), media.rebuild()]);
  await quiet();
  assert.equal(media.counters.builds, 2);
  media.close();
});

test("closing ends everything, also in the middle of a build", async () => {
  const { media, io } = await rig();
  io.answers.set("sfu-get-producers", () => {
    media.close();
    return [null, [{ id: "video-1", kind: "video" }]];
  });
  await media.rebuild();
  await quiet();
  assert.ok(!io.names().includes("sfu-consume"));
  assert.equal(media.graph, null);
});

test("a graph consumes a bounded number of producers, and only data with the wanted label", async () => {
  const { io, signaling, device } = await rig();
  io.answers.set("sfu-get-producers", () => [null, []]);
  io.answers.set("sfu-get-data-producers", () => [null, [{ id: "odd" }, { id: "state" }]]);
  const graph = new MediaGraph(signaling, device, { receiveMedia: true, receiveData: ["netplay-state"] });
  await graph.build();
  const channels: string[] = [];
  graph.on("dataClosed", ({ channel }) => channels.push(channel));
  for (let id = 0; id < MAX_CONSUMERS + 10; id += 1) await graph.consume({ id: `p${id}`, kind: "video" });
  assert.equal(io.names().filter((name) => name === "sfu-consume").length, MAX_CONSUMERS);
  await graph.consumeData({ id: "odd" });
  assert.equal(io.names().filter((name) => name === "consumedata").length, 2);
  graph.producerClosed("odd");
  graph.producerClosed("state");
  assert.deepEqual(channels, ["state"]);
  graph.close();
});

test("a producer that nobody can have is passed over", async () => {
  const { media, io } = await rig();
  io.answers.set("sfu-consume", () => ["cannot consume"]);
  const troubles: Error[] = [];
  media.on("trouble", (error) => troubles.push(error));
  await media.rebuild();
  media.announced({ id: "gone", kind: "video" });
  await quiet();
  assert.deepEqual(troubles, []);
  assert.equal(media.counters.builds, 1);
  media.close();
});
