/**
 * Our media for as long as we are in a room: holds one {@link MediaGraph}, watches its transports, restarts ICE
 * where that helps and builds a new graph where it does not.
 */

import type { types } from "mediasoup-client";

import { type Clock, type Timer, pause } from "./clock.js";
import { Emitter } from "./emitter.js";
import { type GraphEvents, MediaGraph, type MediaPlan } from "./graph.js";
import { type DataProducerInfo, type ProducerInfo } from "./protocol.js";
import { type RecoveryInput, type RecoveryState, recover } from "./recovery.js";
import type { Signaling } from "./signaling.js";

/** Wait before the second attempt to build, in milliseconds; grows by half each time up to the other. */
export const REBUILD_DELAY = 250;
export const MAX_REBUILD_DELAY = 5_000;
/** Wait before a data channel is opened or consumed again that the server has closed, in milliseconds. */
export const REOPEN_DELAY = 250;

export type MediaState = "building" | "connected" | "recovering" | "closed";

export interface MediaEvents extends Omit<GraphEvents, "connection" | "dataLost" | "channelLost"> {
  state: MediaState;
  /** Building failed; it is tried again until {@link MediaSession.close}. */
  trouble: Error;
}

interface Watch {
  state: RecoveryState;
  timer: Timer;
}

export class MediaSession extends Emitter<MediaEvents> {
  readonly #signaling: Signaling;
  readonly #device: types.Device;
  readonly #clock: Clock;
  #plan: MediaPlan;
  #graph: MediaGraph | null = null;
  #watches = new Map<types.Transport, Watch>();
  #state: MediaState = "building";
  #restarts = 0;
  #builds = 0;
  #building = false;
  #again = false;
  /** The server has been asked to drop what we have: what becomes of it meanwhile does not matter. */
  #replacing = false;

  constructor(signaling: Signaling, device: types.Device, plan: MediaPlan, clock: Clock) {
    super();
    this.#signaling = signaling;
    this.#device = device;
    this.#plan = plan;
    this.#clock = clock;
  }

  get state(): MediaState {
    return this.#state;
  }

  /** The graph in use, for statistics and tests. */
  get graph(): MediaGraph | null {
    return this.#graph;
  }

  /** How often ICE was restarted and media was built, the first time included. */
  get counters(): { restarts: number; builds: number } {
    return { restarts: this.#restarts, builds: this.#builds };
  }

  /**
   * Build a graph, and replace the one in use: for the first time, after a change of plan, after a new link to the
   * server, or when the server lost our transports. A call during a build makes one more build follow it. Without a
   * link nothing happens: what still runs is worth more than nothing, and whoever restores the link calls again.
   */
  async rebuild(plan: MediaPlan = this.#plan): Promise<void> {
    this.#plan = plan;
    this.#again = true;
    if (this.#building) return;
    this.#building = true;
    let delay = REBUILD_DELAY;
    while (this.#again && this.#signaling.connected && !this.#isClosed()) {
      this.#again = false;
      try {
        await this.#build();
      } catch (error) {
        if (this.#isClosed()) break;
        this.emit("trouble", error instanceof Error ? error : new Error(String(error)));
        this.#again = true;
        await pause(this.#clock, delay);
        delay = Math.min(delay * 1.5, MAX_REBUILD_DELAY);
      }
    }
    this.#building = false;
  }

  /** Send on our data channel, or on the one with this label; false if it is not open. */
  sendData(message: Uint8Array, label?: string): boolean {
    return this.#graph?.sendData(message, label) ?? false;
  }

  /** `new-producer` */
  announced(producer: ProducerInfo): void {
    this.#attempt(this.#graph?.consume(producer));
  }

  /** `new-data-producer` */
  announcedData(producer: DataProducerInfo): void {
    this.#attempt(this.#graph?.consumeData(producer));
  }

  /** `producer-closed` and `data-producer-closed` */
  producerClosed(id: string): void {
    this.#graph?.producerClosed(id);
  }

  /** Restart ICE on every transport now: the network is known to have changed. */
  networkChanged(): void {
    for (const transport of this.#graph?.transports ?? []) this.#feed(transport, "network");
  }

  close(): void {
    if (this.#isClosed()) return;
    this.#enter("closed");
    this.#drop();
    this.clear();
  }

  async #build(): Promise<void> {
    const replaces = this.#graph !== null;
    this.#enter(replaces ? "recovering" : "building");
    this.#replacing = true;
    try {
      // What we have may still work: it is kept until the server has answered.
      if (replaces) await this.#signaling.request("sfu-recreate-transports", {});
    } finally {
      this.#replacing = false;
    }
    if (this.#isClosed()) return;
    this.#drop();
    const graph = new MediaGraph(this.#signaling, this.#device, this.#plan);
    this.#graph = graph;
    this.#builds += 1;
    graph.on("track", (event) => this.emit("track", event));
    graph.on("ended", (event) => this.emit("ended", event));
    graph.on("data", (event) => this.emit("data", event));
    graph.on("dataClosed", (event) => this.emit("dataClosed", event));
    graph.on("dataOpened", (event) => this.emit("dataOpened", event));
    graph.on("open", (event) => this.emit("open", event));
    graph.on("channelLost", ({ label }) => this.#later(graph, () => graph.openChannel(label)));
    graph.on("dataLost", ({ channel }) => this.#later(graph, () => graph.consumeAgain(channel)));
    graph.on("connection", ({ transport, state }) => {
      if (isRecoveryInput(state)) this.#feed(transport, state);
      if (graph.transports.every((transport) => transport.connectionState === "connected"))
        this.#enter("connected");
      else if (state === "disconnected" || state === "failed") this.#enter("recovering");
    });
    await graph.build();
  }

  /** Let a transport's recovery take one step and do what it says. */
  #feed(transport: types.Transport, input: RecoveryInput): void {
    if (transport.closed || this.#replacing || this.#isClosed()) return;
    let watch = this.#watches.get(transport);
    if (watch === undefined) {
      watch = { state: "steady", timer: null };
      this.#watches.set(transport, watch);
    }
    const step = recover(watch.state, input);
    if (step === null) return;
    this.#clock.clearTimeout(watch.timer);
    watch.state = step.state;
    watch.timer =
      step.timer === undefined
        ? null
        : this.#clock.setTimeout(() => this.#feed(transport, "timer"), step.timer);
    if (step.action === "restart") void this.#restart(transport);
    else if (step.action === "rebuild") void this.rebuild();
  }

  async #restart(transport: types.Transport): Promise<void> {
    this.#restarts += 1;
    try {
      await this.#graph?.restartIce(transport);
    } catch {
      this.#feed(transport, "refused");
      return;
    }
    this.#feed(transport, "restarted");
    // A transport that never stopped being connected will not say so again.
    if (transport.connectionState === "connected") this.#feed(transport, "connected");
  }

  #later(graph: MediaGraph, work: () => Promise<void>): void {
    this.#clock.setTimeout(() => {
      if (graph === this.#graph) this.#attempt(work());
    }, REOPEN_DELAY);
  }

  #attempt(work: Promise<void> | undefined): void {
    work?.catch((error: unknown) => {
      if (this.#isClosed()) return;
      this.emit("trouble", error instanceof Error ? error : new Error(String(error)));
      void this.rebuild();
    });
  }

  #drop(): void {
    for (const { timer } of this.#watches.values()) this.#clock.clearTimeout(timer);
    this.#watches = new Map();
    this.#graph?.close();
    this.#graph = null;
  }

  #isClosed(): boolean {
    return this.#state === "closed";
  }

  #enter(state: MediaState): void {
    if (this.#state === state) return;
    this.#state = state;
    this.emit("state", state);
  }
}

const RECOVERY_INPUTS: ReadonlySet<string> = new Set(["connecting", "connected", "disconnected", "failed"]);

function isRecoveryInput(state: types.ConnectionState): state is types.ConnectionState & RecoveryInput {
  return RECOVERY_INPUTS.has(state);
}
