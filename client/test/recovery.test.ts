import assert from "node:assert/strict";
import { test } from "node:test";

import {
  CONNECT,
  type RecoveryInput,
  type RecoveryState,
  SETTLE,
  WAIT,
  recover,
} from "../src/netplay/recovery.js";

const STATES: RecoveryState[] = ["steady", "connecting", "waiting", "restarting", "settling", "broken"];
const INPUTS: RecoveryInput[] = [
  "connecting",
  "connected",
  "disconnected",
  "failed",
  "network",
  "timer",
  "restarted",
  "refused",
];

/** States that something must happen in before long. */
const WAITING = new Set<RecoveryState>(["connecting", "waiting", "restarting", "settling"]);

/** Feed inputs in turn; what was done along the way. */
function follow(...inputs: RecoveryInput[]): { state: RecoveryState; actions: string[] } {
  let state: RecoveryState = "steady";
  const actions: string[] = [];
  for (const input of inputs) {
    const step = recover(state, input);
    if (step === null) continue;
    state = step.state;
    if (step.action !== undefined) actions.push(step.action);
  }
  return { state, actions };
}

test("a new transport that does not connect in time, or fails, is replaced", () => {
  assert.deepEqual(recover("steady", "connecting"), { state: "connecting", timer: CONNECT });
  assert.deepEqual(follow("connecting", "connected"), { state: "steady", actions: [] });
  for (const end of ["timer", "failed"] as const) {
    assert.deepEqual(follow("connecting", end), { state: "broken", actions: ["rebuild"] });
  }
});

test("a short interruption heals by itself", () => {
  assert.deepEqual(recover("steady", "disconnected"), { state: "waiting", timer: WAIT });
  assert.deepEqual(follow("disconnected", "connected"), { state: "steady", actions: [] });
});

test("a long interruption, or a failure, restarts ICE once", () => {
  assert.deepEqual(follow("disconnected", "timer", "restarted", "connected"), {
    state: "steady",
    actions: ["restart"],
  });
  assert.deepEqual(follow("failed", "restarted", "connected"), { state: "steady", actions: ["restart"] });
  assert.deepEqual(follow("failed", "failed", "disconnected").actions, ["restart"]);
});

test("a restart that is refused, fails or takes too long leads to a new build, and nothing follows it", () => {
  assert.deepEqual(recover("restarting", "restarted"), { state: "settling", timer: SETTLE });
  for (const end of ["timer", "failed"] as const) {
    assert.deepEqual(follow("failed", "restarted", end), {
      state: "broken",
      actions: ["restart", "rebuild"],
    });
  }
  assert.deepEqual(follow("failed", "refused"), { state: "broken", actions: ["restart", "rebuild"] });
  for (const input of INPUTS) assert.equal(recover("broken", input), null);
});

test("a network that changed restarts ICE at once, however far we are, and a new transport is let be", () => {
  for (const before of [[], ["disconnected"], ["failed", "restarted"]] as RecoveryInput[][]) {
    const { state, actions } = follow(...before, "network");
    assert.equal(state, "restarting");
    assert.equal(actions.at(-1), "restart");
  }
  assert.deepEqual(follow("connecting", "network").actions, []);
  assert.deepEqual(follow("failed", "network").actions, ["restart"]);
});

test("three seconds after a transport was disconnected it is back or being replaced, even if nobody answers", () => {
  assert.ok(WAIT + SETTLE <= 3_000);
  assert.deepEqual(follow("disconnected", "timer", "timer").actions, ["restart", "rebuild"]);
});

test("every state that waits for time sets a timer, and no other does", () => {
  for (const state of STATES) {
    for (const input of INPUTS) {
      const step = recover(state, input);
      if (step === null) continue;
      assert.equal(step.timer !== undefined, WAITING.has(step.state));
    }
  }
  for (const state of STATES) assert.equal(recover(state, "timer") !== null, WAITING.has(state));
});
