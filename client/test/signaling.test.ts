import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock, FakeIo, settle } from "./fakes.js";
import {
  HANGUP_DELAY,
  HANGUP_WINDOW,
  REFUSALS,
  REFUSAL_DELAY,
  REQUEST_TIMEOUT,
  RequestError,
  Signaling,
} from "../src/netplay/signaling.js";

function link(): {
  signaling: Signaling;
  io: FakeIo;
  clock: FakeClock;
  states: string[];
  renewals: boolean[];
} {
  const io = new FakeIo();
  const clock = new FakeClock();
  const renewals: boolean[] = [];
  const signaling = new Signaling({
    url: "http://server///",
    io: io.factory,
    clock,
    token: (renew) => {
      renewals.push(renew);
      return Promise.resolve(`token-${renewals.length}`);
    },
  });
  const states: string[] = [];
  signaling.on("state", (state) => states.push(state));
  return { signaling, io, clock, states, renewals };
}

test("connecting asks for a token every time, also when the library reconnects", async () => {
  const { signaling, io, states } = link();
  const seen: boolean[] = [];
  signaling.on("connected", ({ first }) => seen.push(first));
  await signaling.connect();
  io.drop();
  assert.equal(signaling.connected, false);
  io.connect();
  await settle();
  assert.deepEqual(io.tokens, ["token-1", "token-2"]);
  assert.deepEqual(states, ["connecting", "connected", "connecting", "connected"]);
  assert.deepEqual(seen, [true, false]);
});

test("a refusal is answered with a renewed token", async () => {
  const { signaling, io, clock, renewals } = link();
  io.refused.add("token-1");
  const connected = signaling.connect();
  await settle();
  clock.advance(REFUSAL_DELAY);
  await connected;
  assert.deepEqual(renewals, [false, true]);
});

test("refusals in a row end the attempts, each after a longer wait", async () => {
  const { signaling, io, clock, states } = link();
  for (let attempt = 1; attempt <= REFUSALS; attempt += 1) io.refused.add(`token-${attempt}`);
  const failed = assert.rejects(signaling.connect(), (error: RequestError) => error.code === "refused");
  for (let attempt = 0; attempt < REFUSALS; attempt += 1) {
    await settle();
    assert.equal(io.tokens.length, attempt + 1);
    clock.advance(REFUSAL_DELAY * 2 ** attempt - 1);
    assert.equal(io.tokens.length, attempt + 1);
    clock.advance(1);
  }
  await failed;
  await settle();
  assert.equal(io.tokens.length, REFUSALS);
  assert.equal(states.at(-1), "refused");
});

test("a token provider that fails counts as a refusal and gives the reason", async () => {
  const io = new FakeIo();
  const clock = new FakeClock();
  const signaling = new Signaling({
    url: "http://server",
    io: io.factory,
    clock,
    token: () => Promise.reject(new Error("no tokens today")),
  });
  const failed = assert.rejects(signaling.connect());
  for (let attempt = 0; attempt < REFUSALS; attempt += 1) {
    await settle();
    clock.advance(60_000);
  }
  await failed;
});

test("a server that hangs up is connected to again, but not when it does so twice at once", async () => {
  const { signaling, io, states, clock } = link();
  await signaling.connect();
  io.drop("io server disconnect", false);
  assert.equal(states.at(-1), "connecting");
  clock.advance(HANGUP_DELAY);
  await settle();
  assert.equal(states.at(-1), "connected");
  clock.advance(HANGUP_WINDOW);
  io.drop("io server disconnect", false);
  clock.advance(HANGUP_DELAY);
  await settle();
  assert.equal(states.at(-1), "connected");
  io.drop("io server disconnect", false);
  assert.equal(states.at(-1), "replaced");
});

test("giving way to another connection is final, being closed too", async () => {
  const { signaling, io, states, clock } = link();
  await signaling.connect();
  signaling.giveWay();
  io.drop("io server disconnect", false);
  assert.equal(states.at(-1), "replaced");
  signaling.close();
  assert.equal(signaling.state, "closed");
  assert.equal(clock.timers, 0);
  await assert.rejects(signaling.connect(), RequestError);
});

test("an answer is the second argument; errors are words or objects", async () => {
  const { signaling, io } = link();
  await signaling.connect();
  io.answers.set("sfu-restart-ice", () => [null, { iceParameters: 1 }]);
  io.answers.set("join-room", () => [
    { error: "incompatible_game", message: "Other game", canJoinAsSpectator: true },
  ]);
  io.answers.set("leave-room", () => ["no such room"]);
  assert.deepEqual(await signaling.request("sfu-restart-ice", { transportId: "t" }), { iceParameters: 1 });
  const extra = { room_name: "R", player_slot: 1 };
  await assert.rejects(signaling.request("join-room", { extra, password: null }), (error: RequestError) => {
    assert.equal(error.message, "Other game");
    assert.deepEqual(error.details, {
      error: "incompatible_game",
      message: "Other game",
      canJoinAsSpectator: true,
    });
    return error.code === "refused";
  });
  await assert.rejects(signaling.request("leave-room", { roomName: "R" }), {
    message: "no such room",
    code: "refused",
  });
});

test("silence and a missing link are errors of their own", async () => {
  const { signaling, io, clock } = link();
  await assert.rejects(signaling.request("request-room-list", {}), { code: "offline" });
  await signaling.connect();
  io.answers.set("request-room-list", () => undefined);
  await assert.rejects(signaling.request("request-room-list", {}), { code: "timeout" });
  io.drop();
  await assert.rejects(signaling.request("request-room-list", {}), { code: "offline" });
  assert.equal(clock.timers, 0);
});

test("a server that never answers is given up after the time-out", async () => {
  const { signaling, clock } = link();
  const silent = new FakeIo();
  const waiting = new Signaling({
    url: "http://server",
    io: silent.factory,
    clock,
    token: () => new Promise(() => undefined),
  });
  const failed = assert.rejects(waiting.connect(), { code: "timeout" });
  clock.advance(REQUEST_TIMEOUT);
  await failed;
  signaling.close();
});
