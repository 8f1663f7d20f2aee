/** The host's side: runs the game at 60 Hz, paints it, plays it, and gives it as two tracks. */

import { BUTTONS, type Input, type Member, isPlayer } from "../netplay/index.js";
import {
  type Controls,
  type GameEvent,
  type GameState,
  IDLE,
  type Side,
  TICK_RATE,
  computer,
  newGame,
  step,
} from "./game.js";
import { Renderer } from "./render.js";
import { Sound } from "./sound.js";

const TICK = 1_000 / TICK_RATE;
/** A machine that cannot keep up skips time beyond this many ticks instead of falling behind for good. */
const MAX_TICKS_PER_FRAME = 4;

export class HostGame {
  readonly sound = new Sound();
  readonly #renderer: Renderer;
  readonly #canvas: HTMLCanvasElement;
  readonly #held = new Map<number, Controls>();
  readonly #frameDone: () => void;
  #state: GameState = newGame(Date.now() >>> 0);
  #own: Controls = IDLE;
  #members: readonly Member[] = [];
  #video: MediaStreamTrack | null = null;
  #request = 0;
  #last = 0;
  #behind = 0;
  #running = false;

  /** `frameDone` is called after every painted frame, with all inputs so far in it. */
  constructor(canvas: HTMLCanvasElement, frameDone: () => void) {
    this.#canvas = canvas;
    this.#frameDone = frameDone;
    this.#renderer = new Renderer(canvas);
    this.#paint();
  }

  get state(): GameState {
    return this.#state;
  }

  get video(): MediaStreamTrack {
    if (this.#video === null) {
      const [track] = this.#canvas.captureStream(TICK_RATE).getVideoTracks();
      if (track === undefined) throw new Error("This browser cannot capture the picture.");
      track.contentHint = "motion";
      this.#video = track;
    }
    return this.#video;
  }

  /** The slot that steers the right paddle: the lowest one held by a guest; null leaves it to the computer. */
  get challenger(): Member | null {
    return this.#members.find((member) => isPlayer(member) && !member.isHost) ?? null;
  }

  start(): void {
    if (this.#running) return;
    this.#running = true;
    this.#last = performance.now();
    this.#behind = 0;
    this.#request = requestAnimationFrame((now) => this.#frame(now));
  }

  stop(): void {
    this.#running = false;
    cancelAnimationFrame(this.#request);
  }

  async close(): Promise<void> {
    this.stop();
    this.#video?.stop();
    await this.sound.close();
  }

  /** Our own keys. */
  press(button: "up" | "down", down: boolean): void {
    this.#own = { ...this.#own, [button]: down };
  }

  /** A guest's input. */
  apply({ player, index, value }: Input): void {
    const held = this.#held.get(player) ?? IDLE;
    if (index === BUTTONS.up) this.#held.set(player, { ...held, up: value !== 0 });
    else if (index === BUTTONS.down) this.#held.set(player, { ...held, down: value !== 0 });
  }

  /** Who is here; keys of seats that emptied are let go. */
  seat(members: readonly Member[]): void {
    this.#members = members;
    const seats = new Set(members.map((member) => member.slot));
    for (const slot of this.#held.keys()) if (!seats.has(slot)) this.#held.delete(slot);
  }

  #frame(now: number): void {
    if (!this.#running) return;
    this.#behind = Math.min(this.#behind + now - this.#last, MAX_TICKS_PER_FRAME * TICK);
    this.#last = now;
    const events = new Set<GameEvent>();
    while (this.#behind >= TICK) {
      this.#behind -= TICK;
      const next = step(this.#state, [this.#own, this.#right()]);
      this.#state = next.state;
      for (const event of next.events) events.add(event);
    }
    for (const event of events) this.sound.play(event);
    this.#paint();
    this.#frameDone();
    this.#request = requestAnimationFrame((next) => this.#frame(next));
  }

  #right(): Controls {
    const challenger = this.challenger;
    if (challenger === null) return computer(this.#state, 1);
    return this.#held.get(challenger.slot) ?? IDLE;
  }

  #paint(): void {
    const host = this.#members.find((member) => member.isHost)?.name ?? "You";
    const names = [host, this.challenger?.name ?? "Computer"] as const;
    this.#renderer.paint(this.#state, names, announcement(this.#state, names));
  }
}

function announcement(state: GameState, names: readonly [string, string]): string {
  if (state.phase === "over") {
    const winner: Side = state.score[0] > state.score[1] ? 0 : 1;
    return `${names[winner]} wins`;
  }
  return state.phase === "serve" && state.score[0] + state.score[1] === 0 ? "Get ready" : "";
}
