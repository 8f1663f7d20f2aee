/**
 * The session against a scripted server and the real mediasoup-client on its fake handler: what it asks for in which
 * order, and what it does when links, transports, hosts and rooms go away.
 */

import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeMediaStreamTrack } from "fake-mediastreamtrack";
import { Device } from "mediasoup-client";
import * as parameters from "mediasoup-client/fakeParameters";
import { FakeHandler } from "mediasoup-client/handlers/FakeHandler";

import { FakeClock, FakeIo, settle } from "./fakes.js";
import { AWAY_PATIENCE, LINK_TIMEOUT, REJOIN_ATTEMPTS, REJOIN_DELAY } from "../src/netplay/session.js";
import { HANGUP_DELAY, REQUEST_TIMEOUT } from "../src/netplay/signaling.js";
import { NetplaySession } from "../src/netplay/index.js";

class FakeDevice extends Device {
  constructor() {
    super({ handlerFactory: FakeHandler.createFactory(parameters) });
  }
}

const users = (map: Record<string, object>): Record<string, object> =>
  Object.fromEntries(
    Object.entries(map).map(([id, row]) => [
      id,
      { userid: id, netplay_username: id, player_slot: 1, ...row },
    ]),
  );
const HOST = { player_slot: 0, is_host: true, socketId: "host" };

interface Rig {
  session: NetplaySession;
  io: FakeIo;
  clock: FakeClock;
  left: string[];
  states: string[];
}

async function rig(): Promise<Rig> {
  const io = new FakeIo();
  const clock = new FakeClock();
  const session = new NetplaySession({
    url: "http://server",
    io: io.factory,
    Device: FakeDevice,
    token: () => Promise.resolve("token"),
    clock,
  });
  let producers = 0;
  io.answers.set("sfu-get-router-rtp-capabilities", () => [null, parameters.generateRouterRtpCapabilities()]);
  io.answers.set("sfu-create-transport", () => [null, parameters.generateTransportRemoteParameters()]);
  io.answers.set("sfu-produce", () => [null, `producer-${(producers += 1)}`]);
  io.answers.set("producedata", () => [null, `data-${(producers += 1)}`]);
  io.answers.set("sfu-get-producers", () => [null, [{ id: "video-1", kind: "video" }]]);
  io.answers.set("sfu-get-data-producers", () => [null, [{ id: "state-1", kind: "data" }]]);
  io.answers.set("sfu-consume", ({ producerId }) => [
    null,
    { ...parameters.generateConsumerRemoteParameters({ codecMimeType: "video/VP8" }), producerId },
  ]);
  io.answers.set("consumedata", ({ dataProducerId }) => [
    null,
    {
      ...parameters.generateDataConsumerRemoteParameters(),
      dataProducerId,
      label: "netplay-state",
      protocol: "",
    },
  ]);
  io.answers.set("join-room", () => [
    null,
    { users: users({ ann: HOST, bob: { socketId: `socket-${io.connects}` } }) },
  ]);
  const left: string[] = [];
  const states: string[] = [];
  session.on("left", ({ reason }) => left.push(reason));
  session.on("state", (state) => states.push(state));
  await session.connect();
  return { session, io, clock, left, states };
}

/** Until the media is built: mediasoup-client takes more turns of the loop than plain promises do. */
async function quiet(): Promise<void> {
  for (let turn = 0; turn < 10; turn += 1) {
    await settle();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

async function guest(spectator = false): Promise<Rig> {
  const made = await rig();
  if (spectator) {
    made.io.answers.set("join-room", () => [
      null,
      { users: users({ ann: HOST, bob: { socketId: `socket-${made.io.connects}`, player_slot: 8 } }) },
    ]);
  }
  await made.session.join({ name: "R", spectator });
  await quiet();
  return made;
}

const track = (kind: "audio" | "video"): MediaStreamTrack =>
  new FakeMediaStreamTrack({ kind }) as unknown as MediaStreamTrack;

test("a host opens the room, joins it, sends picture, sound and state, and asks for inputs", async () => {
  const { session, io } = await rig();
  io.answers.set("join-room", () => [null, { users: users({ ann: { ...HOST, socketId: "socket-1" } }) }]);
  await session.open({ name: "R", video: track("video"), audio: track("audio"), game: "Paddles" });
  await quiet();
  const names = io.names();
  assert.ok(names.indexOf("open-room") < names.indexOf("join-room"));
  assert.deepEqual(names.filter((name) => name === "sfu-create-transport").length, 2);
  assert.deepEqual(names.filter((name) => name === "sfu-produce").length, 2);
  assert.ok(!names.includes("sfu-get-producers"));
  const data = io.sent.find(({ name }) => name === "producedata")?.payload as Record<string, unknown>;
  assert.equal(data["label"], "netplay-state");
  assert.equal(data["protocol"], "netplay-runs/1"); // what tells players that we take runs
  assert.deepEqual((data["sctpStreamParameters"] as Record<string, unknown>)["maxPacketLifeTime"], 3_000);
  assert.equal(session.role, "host");
  await session.close();
});

test("a player consumes what is there and what comes, once each, and sends inputs", async () => {
  const { session, io } = await guest();
  const tracks: string[] = [];
  session.on("track", ({ kind }) => tracks.push(kind));
  io.say("new-producer", { id: "video-1", kind: "video" });
  io.say("new-producer", { id: "video-2", kind: "video" });
  io.say("new-producer", { id: "video-2", kind: "video" });
  io.say("new-data-producer", { id: "other", label: "netplay-input" });
  await quiet();
  const consumed = io.sent
    .filter(({ name }) => name === "sfu-consume")
    .map(({ payload }) => (payload as { producerId: string }).producerId);
  assert.deepEqual(consumed, ["video-1", "video-2"]);
  assert.deepEqual(tracks, ["video"]);
  assert.equal(io.names().filter((name) => name === "consumedata").length, 1);
  const data = io.sent.find(({ name }) => name === "producedata")?.payload as { label: string };
  assert.equal(data.label, "netplay-input");
  assert.equal(session.role, "player");
  await session.close();
});

test("a spectator sends nothing, until it takes a seat", async () => {
  const { session, io } = await guest(true);
  assert.equal(session.role, "spectator");
  assert.ok(!io.names().includes("producedata"));
  assert.ok(!io.names().includes("consumedata")); // nor does it need answers to inputs
  const extra = io.sent.find(({ name }) => name === "join-room")?.payload as {
    extra: Record<string, unknown>;
  };
  assert.equal(extra.extra["is_spectator"], true);
  io.say("player-slot-updated", { playerId: "ann", playerSlot: 2 });
  assert.equal(session.slot, 8);
  io.say("player-slot-updated", { playerId: "bob", playerSlot: 1 });
  await quiet();
  assert.equal(session.role, "player");
  assert.ok(io.names().includes("producedata"));
  await session.close();
});

test("a producer that closed ends its track and is not mistaken for a new one", async () => {
  const { session, io } = await guest();
  const ended: string[] = [];
  session.on("trackEnded", ({ kind }) => ended.push(kind));
  io.say("producer-closed", { id: "video-1" });
  io.say("producer-closed", { id: "video-1" });
  io.say("producer-closed", "nonsense");
  await quiet();
  assert.deepEqual(ended, ["video"]);
  await session.close();
});

test("after a lost link the session joins again and builds its media anew", async () => {
  const { session, io, states, left } = await guest();
  io.drop();
  assert.equal(session.state, "rejoining");
  io.sent.length = 0;
  io.connect();
  await quiet();
  assert.equal(session.state, "room");
  const names = io.names();
  assert.ok(names.indexOf("join-room") < names.indexOf("sfu-create-transport"));
  assert.deepEqual(session.media?.counters.builds, 2);
  assert.deepEqual(left, []);
  assert.deepEqual(states.slice(-2), ["rejoining", "room"]);
  await session.close();
});

test("a room that will not have us back is left after the last attempt", async () => {
  const { session, io, clock, left } = await guest();
  io.drop();
  io.answers.set("join-room", () => ["no such room"]);
  io.sent.length = 0;
  io.connect();
  for (let attempt = 0; attempt <= REJOIN_ATTEMPTS; attempt += 1) {
    await quiet();
    clock.advance(REJOIN_DELAY);
  }
  await quiet();
  assert.equal(io.names().filter((name) => name === "join-room").length, REJOIN_ATTEMPTS);
  assert.deepEqual(left, ["room-lost"]);
  assert.equal(session.state, "lobby");
  assert.equal(session.media, null);
  await session.close();
});

test("a host whose room is gone with the server opens it again", async () => {
  const { session, io } = await rig();
  let there = true;
  io.answers.set("join-room", () =>
    there
      ? [null, { users: users({ ann: { ...HOST, socketId: `socket-${io.connects}` } }) }]
      : ["no such room"],
  );
  io.answers.set("open-room", () => {
    there = true;
    return [null];
  });
  await session.open({ name: "R", video: track("video") });
  await quiet();
  io.drop();
  there = false;
  io.sent.length = 0;
  io.connect();
  await quiet();
  assert.deepEqual(
    io.names().filter((name) => name.endsWith("-room")),
    ["join-room", "open-room", "join-room"],
  );
  assert.equal(session.state, "room");
  await session.close();
});

test("transports that the server lost are built anew at once", async () => {
  const { session, io } = await guest();
  io.sent.length = 0;
  io.say("transports-lost", {});
  await quiet();
  assert.equal(io.names()[0], "sfu-recreate-transports");
  assert.equal(session.media?.counters.builds, 2);
  await session.close();
});

test("when the network changes ICE is restarted at once, and a link that answers is kept", async () => {
  const { session, io } = await guest();
  for (const transport of session.media?.graph?.transports ?? [])
    (transport.handler as unknown as FakeHandler).setConnectionState("connected");
  io.answers.set("sfu-restart-ice", () => [
    null,
    { iceParameters: { usernameFragment: "u", password: "p" } },
  ]);
  io.sent.length = 0;
  session.networkChanged();
  await quiet();
  assert.equal(io.names().filter((name) => name === "sfu-restart-ice").length, 2);
  assert.equal(session.media?.counters.builds, 1);
  assert.equal(io.connects, 1);
  await session.close();
});

test("a link that is dead after the network changed is made anew, and everything on it", async () => {
  const { session, io } = await guest();
  const capabilities = io.answers.get("sfu-get-router-rtp-capabilities");
  io.answers.set("sfu-get-router-rtp-capabilities", () => undefined);
  session.networkChanged();
  await settle();
  assert.equal(
    io.sent.filter(({ name }) => name === "sfu-get-router-rtp-capabilities").at(-1)?.timeout,
    LINK_TIMEOUT,
  );
  io.answers.set("sfu-get-router-rtp-capabilities", capabilities ?? (() => [null]));
  await quiet();
  assert.equal(io.connects, 2);
  assert.equal(session.state, "room");
  assert.equal(session.media?.counters.builds, 2);
  await session.close();
});

test("a player of a host that takes runs sends them, one of an older host does not", async () => {
  for (const protocol of ["netplay-runs/1", ""]) {
    const made = await rig();
    made.io.answers.set("consumedata", ({ dataProducerId }) => [
      null,
      {
        ...parameters.generateDataConsumerRemoteParameters(),
        dataProducerId,
        label: "netplay-state",
        protocol,
      },
    ]);
    await made.session.join({ name: "R" });
    await quiet();
    const channels = (): unknown[] =>
      made.io.sent
        .filter(({ name }) => name === "producedata")
        .map(({ payload }) => (payload as Record<string, unknown>)["label"]);
    assert.deepEqual(channels(), protocol === "" ? ["netplay-input"] : ["netplay-input", "netplay-runs"]);
    await made.session.close();
  }
});

test("building is tried again until it succeeds", async () => {
  const { session, io, clock } = await rig();
  let failures = 3;
  const good = io.answers.get("sfu-create-transport");
  io.answers.set("sfu-create-transport", (payload) =>
    (failures -= 1) >= 0 ? ["worker not available"] : good?.(payload),
  );
  const troubles: string[] = [];
  session.on("trouble", ({ message }) => troubles.push(message));
  await session.join({ name: "R" });
  for (let attempt = 0; attempt < 4; attempt += 1) {
    await quiet();
    clock.advance(5_000);
  }
  await quiet();
  assert.ok(troubles.length >= 1);
  assert.ok(io.names().includes("sfu-consume"));
  await session.close();
});

test("when somebody else becomes host, the show is over", async () => {
  const { session, io, left } = await guest();
  io.say("users-updated", users({ bob: { socketId: "socket-1", is_host: true } }));
  await quiet();
  assert.deepEqual(left, ["host-left"]);
  assert.ok(io.names().includes("leave-room"));
  assert.equal(session.room, null);
  await session.close();
});

test("a host that is only reconnecting is waited for", async () => {
  const { session, io, left } = await guest();
  io.say("users-updated", users({ ann: { ...HOST, reconnecting: true }, bob: { socketId: "socket-1" } }));
  await quiet();
  assert.deepEqual(left, []);
  await session.close();
});

test("being replaced by another window ends the stay", async () => {
  const { session, io, left } = await guest();
  io.say("room-closed", { room_name: "R", reason: "taken over" });
  io.drop("io server disconnect", false);
  await quiet();
  assert.deepEqual(left, ["replaced"]);
  assert.equal(session.state, "offline");
  await session.close();
});

test("a room that is closed is left; one whose server only stops is come back to", async () => {
  const { session, io, clock, left } = await guest();
  io.say("room-closed", { room_name: "R", reason: "server stopping" });
  io.drop("io server disconnect", false);
  assert.equal(session.state, "rejoining");
  clock.advance(HANGUP_DELAY);
  await quiet();
  assert.equal(session.state, "room");
  assert.deepEqual(left, []);
  io.say("room-closed", { room_name: "R", reason: "closed by an operator" });
  assert.deepEqual(left, ["room-lost"]);
  assert.equal(session.state, "lobby");
  await session.close();
});

test("a refused join leaves nothing behind", async () => {
  const { session, io } = await rig();
  io.answers.set("join-room", () => ["bad password"]);
  await assert.rejects(session.join({ name: "R" }), { message: "bad password" });
  assert.equal(session.state, "lobby");
  assert.equal(session.room, null);
  io.answers.set("join-room", () => [null, { redirect: "ftp://other", room_name: "R" }]);
  await assert.rejects(session.join({ name: "R" }));
  assert.equal(session.state, "lobby");
  await session.close();
});

/** A server of a group whose room is at `http://other`. */
async function redirected(): Promise<Rig> {
  const made = await rig();
  const inside = made.io.answers.get("join-room");
  made.io.answers.set("join-room", (payload) =>
    made.io.urls.at(-1) === "http://other"
      ? inside?.(payload)
      : [null, { redirect: "http://other", room_name: "R", nodeId: "b" }],
  );
  return made;
}

test("a room on another server of the group is joined there; leaving it leads home", async () => {
  const { session, io, left, states } = await redirected();
  await session.join({ name: "R" });
  await quiet();
  assert.deepEqual(io.urls, ["http://server", "http://other"]);
  assert.equal(session.state, "room");
  assert.equal(session.room?.me?.id, "bob");
  assert.equal(session.media?.counters.builds, 1);
  const capabilities = io.names().filter((name) => name === "sfu-get-router-rtp-capabilities");
  assert.equal(capabilities.length, 2); // that server may have other codecs
  await session.leave();
  await quiet();
  assert.deepEqual(io.urls, ["http://server", "http://other", "http://server"]);
  assert.equal(session.state, "lobby");
  assert.deepEqual(left, ["left"]);
  assert.ok(!states.includes("rejoining"));
  await session.close();
});

test("a link that is lost away from home is made again there", async () => {
  const { session, io, states } = await redirected();
  await session.join({ name: "R" });
  await quiet();
  io.drop();
  io.connect();
  await quiet();
  assert.deepEqual(io.urls, ["http://server", "http://other", "http://other"]);
  assert.deepEqual(states.slice(-2), ["rejoining", "room"]);
  assert.equal(session.media?.counters.builds, 2);
  await session.close();
});

test("a rejoin that is sent to another server builds everything anew there", async () => {
  const { session, io } = await guest();
  const inside = io.answers.get("join-room");
  io.answers.set("join-room", (payload) =>
    io.urls.at(-1) === "http://other" ? inside?.(payload) : [null, { redirect: "http://other" }],
  );
  io.drop();
  io.sent.length = 0;
  io.connect();
  await quiet();
  assert.deepEqual(io.urls.slice(1), ["http://server", "http://other"]);
  assert.equal(session.state, "room");
  assert.equal(io.names().filter((name) => name === "join-room").length, 2);
  assert.equal(session.media?.counters.builds, 1); // of the new media
  await session.close();
});

test("a server away from home that is gone for good is not waited for: home knows where the room is now", async () => {
  const { session, io, clock, left } = await redirected();
  await session.join({ name: "R" });
  await quiet();
  io.dead.add("http://other");
  io.drop();
  assert.equal(session.state, "rejoining");
  clock.advance(AWAY_PATIENCE - 1);
  await quiet();
  assert.equal(io.urls.at(-1), "http://other");
  clock.advance(1); // home still says that the room is there, where nobody answers
  await quiet();
  assert.deepEqual(io.urls, ["http://server", "http://other", "http://server"]);
  clock.advance(REQUEST_TIMEOUT);
  await quiet();
  clock.advance(REJOIN_DELAY);
  await quiet();
  clock.advance(AWAY_PATIENCE);
  io.answers.set("join-room", () =>
    io.urls.at(-1) === "http://third"
      ? [null, { users: users({ ann: HOST, bob: { socketId: `socket-${io.connects}` } }) }]
      : [null, { redirect: "http://third" }],
  );
  await quiet();
  assert.equal(io.urls.at(-1), "http://third");
  assert.equal(session.state, "room");
  assert.deepEqual(left, []);
  await session.close();
  assert.equal(clock.timers, 0);
});

test("who leaves while being sent to a server that does not answer is not joined again", async () => {
  const { session, io, clock, left } = await redirected();
  await session.join({ name: "R" });
  await quiet();
  io.dead.add("http://other");
  io.drop();
  clock.advance(AWAY_PATIENCE);
  await quiet();
  io.sent.length = 0;
  await session.leave();
  await quiet();
  clock.advance(REQUEST_TIMEOUT + REJOIN_DELAY);
  await quiet();
  assert.ok(!io.names().includes("join-room"));
  assert.equal(session.state, "lobby");
  assert.deepEqual(left, ["left"]);
  await session.close();
});

test("a server that the room is said to be on, and does not answer, fails the join and leads home", async () => {
  const { session, io, clock } = await redirected();
  io.dead.add("http://other");
  const join = assert.rejects(session.join({ name: "R" }));
  await quiet();
  clock.advance(REQUEST_TIMEOUT);
  await join;
  await quiet();
  assert.deepEqual(io.urls, ["http://server", "http://server"]);
  assert.equal(session.state, "lobby");
  assert.equal(session.room, null);
  await session.close();
});

test("leaving lets go of everything, even if the server does not answer", async () => {
  const { session, io, clock, left } = await guest();
  io.answers.set("leave-room", () => undefined);
  await session.leave();
  assert.deepEqual(left, ["left"]);
  assert.equal(session.state, "lobby");
  assert.equal(session.media, null);
  assert.equal(clock.timers, 0);
  await session.close();
});
