/**
 * The game: two paddles and a ball, as a pure function from one state to the next.
 *
 * A tick is 1/60 s. Nothing here knows about time, screens or randomness: the same state and controls give the same
 * next state on every machine. Positions are in field units, the origin top left.
 */

export const TICK_RATE = 60;
export const FIELD = { width: 640, height: 360 } as const;
export const PADDLE = { width: 10, height: 64, inset: 24, speed: 6.5 } as const;
export const BALL = { size: 10, speed: 4.5, maxSpeed: 11, quicken: 1.05 } as const;
/** Points that win. */
export const WINNING_SCORE = 7;
/** Ticks between a point and the next serve, and between a win and a new game. */
export const SERVE_TICKS = 60;
export const OVER_TICKS = 240;

export type Side = 0 | 1;
export type Pair<Value> = readonly [Value, Value];

export interface Controls {
  readonly up: boolean;
  readonly down: boolean;
}

export interface GameState {
  readonly tick: number;
  /** Top edge of each paddle. */
  readonly paddles: Pair<number>;
  readonly ball: { readonly x: number; readonly y: number; readonly vx: number; readonly vy: number };
  readonly score: Pair<number>;
  readonly phase: "serve" | "play" | "over";
  /** Ticks left in `serve` and `over`. */
  readonly wait: number;
  /** Who serves next. */
  readonly server: Side;
  /** Hits since the serve. */
  readonly rally: number;
  /** State of the generator that varies the serves. */
  readonly seed: number;
}

export type GameEvent = "serve" | "paddle" | "wall" | "point" | "win";

export const IDLE: Controls = { up: false, down: false };

const CENTRE = (FIELD.height - PADDLE.height) / 2;
const LIMIT = FIELD.height - PADDLE.height;

export function newGame(seed = 1): GameState {
  return {
    tick: 0,
    paddles: [CENTRE, CENTRE],
    ball: { x: FIELD.width / 2, y: FIELD.height / 2, vx: 0, vy: 0 },
    score: [0, 0],
    phase: "serve",
    wait: SERVE_TICKS,
    server: 0,
    rally: 0,
    seed: seed >>> 0,
  };
}

/** One tick. */
export function step(state: GameState, controls: Pair<Controls>): { state: GameState; events: GameEvent[] } {
  const events: GameEvent[] = [];
  const moved: GameState = {
    ...state,
    tick: state.tick + 1,
    paddles: [slide(state.paddles[0], controls[0]), slide(state.paddles[1], controls[1])],
  };
  if (moved.phase === "play") return { state: play(moved, events), events };
  if (moved.wait > 1) return { state: { ...moved, wait: moved.wait - 1 }, events };
  if (moved.phase === "over") {
    return {
      state: { ...newGame(moved.seed), tick: moved.tick, paddles: moved.paddles, server: moved.server },
      events,
    };
  }
  events.push("serve");
  return { state: serve(moved), events };
}

/** How the computer plays a side: follows the ball, no faster than a person could, and rests when it flies away. */
export function computer(state: GameState, side: Side): Controls {
  const middle = state.paddles[side] + PADDLE.height / 2;
  const approaching = side === 1 ? state.ball.vx > 0 : state.ball.vx < 0;
  const target = approaching ? state.ball.y : FIELD.height / 2;
  const reach = PADDLE.height / 4;
  // A person does not move on every tick: neither does the computer, so that it can be beaten.
  const awake = state.tick % 3 !== 0;
  return { up: awake && middle > target + reach, down: awake && middle < target - reach };
}

function slide(top: number, { up, down }: Controls): number {
  const direction = (down ? 1 : 0) - (up ? 1 : 0);
  return clamp(top + direction * PADDLE.speed, 0, LIMIT);
}

function serve(state: GameState): GameState {
  const seed = (Math.imul(state.seed, 1_664_525) + 1_013_904_223) >>> 0;
  const slope = ((seed >>> 16) / 65_535 - 0.5) * 1.2;
  const direction = state.server === 0 ? 1 : -1;
  return {
    ...state,
    seed,
    phase: "play",
    wait: 0,
    rally: 0,
    ball: { x: FIELD.width / 2, y: FIELD.height / 2, vx: direction * BALL.speed, vy: BALL.speed * slope },
  };
}

function play(state: GameState, events: GameEvent[]): GameState {
  let { x, y, vx, vy } = state.ball;
  let { rally } = state;
  const half = BALL.size / 2;
  const before = x;
  x += vx;
  y += vy;
  if (y < half || y > FIELD.height - half) {
    y = y < half ? 2 * half - y : 2 * (FIELD.height - half) - y;
    vy = -vy;
    events.push("wall");
  }
  const side: Side = vx < 0 ? 0 : 1;
  // The line the ball's leading edge must cross to meet the paddle; crossing it, not being behind it, is a hit.
  const line =
    side === 0 ? PADDLE.inset + PADDLE.width + half : FIELD.width - PADDLE.inset - PADDLE.width - half;
  const crossed = side === 0 ? before >= line && x < line : before <= line && x > line;
  const offset = (y - (state.paddles[side] + PADDLE.height / 2)) / (PADDLE.height / 2 + half);
  if (crossed && Math.abs(offset) <= 1) {
    const speed = Math.min(Math.abs(vx) * BALL.quicken, BALL.maxSpeed);
    vx = side === 0 ? speed : -speed;
    vy = offset * speed * 0.9;
    x = 2 * line - x;
    rally += 1;
    events.push("paddle");
  }
  if (x >= -BALL.size && x <= FIELD.width + BALL.size) return { ...state, ball: { x, y, vx, vy }, rally };

  const winner: Side = x < 0 ? 1 : 0;
  const score: Pair<number> =
    winner === 0 ? [state.score[0] + 1, state.score[1]] : [state.score[0], state.score[1] + 1];
  const won = score[winner] >= WINNING_SCORE;
  events.push(won ? "win" : "point");
  return {
    ...state,
    score,
    rally,
    ball: { x: FIELD.width / 2, y: FIELD.height / 2, vx: 0, vy: 0 },
    phase: won ? "over" : "serve",
    wait: won ? OVER_TICKS : SERVE_TICKS,
    server: winner,
  };
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(Math.max(value, low), high);
}
