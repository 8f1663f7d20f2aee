import assert from "node:assert/strict";
import { test } from "node:test";

import {
  BALL,
  FIELD,
  type GameEvent,
  type GameState,
  IDLE,
  OVER_TICKS,
  PADDLE,
  type Pair,
  SERVE_TICKS,
  WINNING_SCORE,
  computer,
  newGame,
  step,
} from "../src/page/game.js";

const STILL: Pair<typeof IDLE> = [IDLE, IDLE];
const UP = { up: true, down: false };
const DOWN = { up: false, down: true };

/** A small generator of its own, so that a failure can be repeated. */
function dice(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return state / 2 ** 32;
  };
}

function run(state: GameState, ticks: number, controls = STILL): { state: GameState; events: GameEvent[] } {
  const events: GameEvent[] = [];
  for (let tick = 0; tick < ticks; tick += 1) {
    const next = step(state, controls);
    state = next.state;
    events.push(...next.events);
  }
  return { state, events };
}

test("a game starts with a serve after the wait, towards the right", () => {
  const before = run(newGame(), SERVE_TICKS - 1);
  assert.equal(before.state.phase, "serve");
  assert.deepEqual(before.events, []);
  const served = run(before.state, 1);
  assert.equal(served.state.phase, "play");
  assert.deepEqual(served.events, ["serve"]);
  assert.equal(served.state.ball.vx, BALL.speed);
});

test("the same seed and controls give the same game", () => {
  const play = (seed: number): GameState[] => {
    const roll = dice(7);
    let state = newGame(seed);
    return Array.from({ length: 3_000 }, () => {
      state = step(state, [roll() < 0.5 ? UP : DOWN, computer(state, 1)]).state;
      return state;
    });
  };
  assert.deepEqual(play(3), play(3));
  assert.notDeepEqual(play(3).at(-1), play(4).at(-1));
});

test("a step leaves the state it was given alone", () => {
  const state = Object.freeze({
    ...newGame(),
    phase: "play" as const,
    ball: Object.freeze({ x: 300, y: 90, vx: 5, vy: 1 }),
  });
  const copy = structuredClone(state);
  step(state, [UP, DOWN]);
  assert.deepEqual(state, copy);
});

test("whatever is pressed, paddles stay on the field, the ball at most just outside, and its speed is bounded", () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const roll = dice(seed);
    let state = newGame(seed);
    for (let tick = 0; tick < 4_000; tick += 1) {
      const press = (): typeof IDLE => ({ up: roll() < 0.4, down: roll() < 0.4 });
      state = step(state, [press(), roll() < 0.5 ? computer(state, 1) : press()]).state;
      for (const top of state.paddles) assert.ok(top >= 0 && top <= FIELD.height - PADDLE.height);
      assert.ok(state.ball.y >= 0 && state.ball.y <= FIELD.height, `y ${state.ball.y}`);
      assert.ok(state.ball.x >= -BALL.size && state.ball.x <= FIELD.width + BALL.size, `x ${state.ball.x}`);
      assert.ok(Math.abs(state.ball.vx) <= BALL.maxSpeed);
      assert.ok(state.score[0] <= WINNING_SCORE && state.score[1] <= WINNING_SCORE);
    }
  }
});

test("up and down move a paddle, both together hold it, and it stops at the edge", () => {
  const start = newGame().paddles[0];
  assert.equal(run(newGame(), 1, [UP, IDLE]).state.paddles[0], start - PADDLE.speed);
  assert.equal(run(newGame(), 1, [IDLE, DOWN]).state.paddles[1], start + PADDLE.speed);
  assert.equal(run(newGame(), 1, [{ up: true, down: true }, IDLE]).state.paddles[0], start);
  assert.equal(run(newGame(), 59, [UP, IDLE]).state.paddles[0], 0);
});

test("a paddle in the way returns the ball faster, steeper the farther from its middle", () => {
  const at = (y: number): GameState => ({
    ...newGame(),
    phase: "play",
    ball: { x: FIELD.width - PADDLE.inset - PADDLE.width - BALL.size / 2 - 1, y, vx: BALL.speed, vy: 0 },
  });
  const middle = newGame().paddles[1] + PADDLE.height / 2;
  const centre = step(at(middle), STILL);
  assert.deepEqual(centre.events, ["paddle"]);
  assert.equal(centre.state.ball.vx, -BALL.speed * BALL.quicken);
  assert.equal(centre.state.ball.vy, 0);
  const low = step(at(middle + 20), STILL);
  assert.ok(low.state.ball.vy > 0);
});

test("a ball that passes scores for the other side, who serves; seven points win and a new game follows", () => {
  const passing: GameState = {
    ...newGame(),
    phase: "play",
    ball: { x: FIELD.width + BALL.size - 1, y: 20, vx: BALL.speed, vy: 0 },
  };
  const point = step(passing, STILL);
  assert.deepEqual(point.events, ["point"]);
  assert.deepEqual(point.state.score, [1, 0]);
  assert.equal(point.state.server, 0);
  const last = step({ ...passing, score: [WINNING_SCORE - 1, 3] }, STILL);
  assert.deepEqual(last.events, ["win"]);
  assert.equal(last.state.phase, "over");
  const again = run(last.state, OVER_TICKS);
  assert.deepEqual(again.state.score, [0, 0]);
  assert.equal(again.state.phase, "serve");
});

test("the computer plays well enough to be fun and badly enough to be beaten", () => {
  let state = newGame(5);
  let hits = 0;
  let points = 0;
  for (let tick = 0; tick < 60 * 600; tick += 1) {
    const next = step(state, [computer(state, 0), computer(state, 1)]);
    state = next.state;
    hits += next.events.filter((event) => event === "paddle").length;
    points += next.events.filter((event) => event === "point" || event === "win").length;
  }
  assert.ok(points > 0, "nobody ever misses");
  assert.ok(hits / points > 2, `${hits} hits for ${points} points`);
});
