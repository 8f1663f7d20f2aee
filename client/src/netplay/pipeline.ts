/**
 * Inputs from controller to game: a player's end sends and measures, a host's end receives and answers.
 *
 * The two ends share a class because a session has one pipeline and finds out which end it is when it has a seat.
 */

import { type Clock } from "./clock.js";
import { Emitter } from "./emitter.js";
import {
  type Input,
  InputReceiver,
  InputSender,
  type Message,
  type Send,
  decodeUntrusted,
  encodeDelay,
  encodeEcho,
} from "./input.js";
import { SPECTATOR_SLOT } from "./protocol.js";

/** Weight of the newest sample in the running average of the input delay. */
export const DELAY_WEIGHT = 0.2;
/** How often a player tells the host its input delay, in milliseconds. */
export const DELAY_REPORT_INTERVAL = 1_000;

export interface PipelineEvents {
  /** At a host: an input to apply to the game now. */
  input: Input;
  /** At a host: a player's own measurement of its input delay. */
  playerDelay: { player: number; milliseconds: number };
}

export class InputPipeline extends Emitter<PipelineEvents> {
  readonly #send: Send;
  readonly #clock: Clock;
  readonly #hosts: boolean;
  /** At a host, by channel. */
  readonly #receivers = new Map<string, InputReceiver>();
  /** At a host, by player: the number of the last input the game got and has not confirmed. */
  readonly #applied = new Map<number, number>();
  #slot = SPECTATOR_SLOT;
  #sender: InputSender | null = null;
  #delay: number | null = null;
  #reportedAt = -Infinity;

  /** `send` puts a message on our data channel; false if it is not open. */
  constructor(hosts: boolean, send: Send, clock: Clock) {
    super();
    this.#hosts = hosts;
    this.#send = send;
    this.#clock = clock;
  }

  /** At a player: milliseconds from an input to the host's word that it is in a frame, averaged; null until known. */
  get delay(): number | null {
    return this.#delay;
  }

  /** Take a seat. What is held down moves along; with the spectators it is let go. */
  sit(slot: number): void {
    this.#slot = slot;
    if (this.#hosts) return;
    if (slot === SPECTATOR_SLOT) {
      this.#sender?.release();
      this.#sender = null;
    } else if (this.#sender === null) {
      this.#sender = new InputSender(this.#send, this.#clock, slot);
      this.#sender.on("delay", (sample) => this.#measured(sample));
    } else {
      this.#sender.player = slot;
    }
  }

  /** Press, release or move an input of ours. */
  set(index: number, value: number): void {
    this.#sender?.set(index, value);
  }

  /** Let go of everything. */
  release(): void {
    this.#sender?.release();
  }

  /** Our data channel has opened: say what is held down. */
  opened(): void {
    this.#sender?.resend();
  }

  /** A message on the data channel of somebody else. */
  receive(channel: string, data: unknown): void {
    const message = decodeUntrusted(data);
    if (message === null) return;
    if (this.#hosts) this.#receiveAtHost(channel, message);
    else if (message.type === "echo") this.#sender?.echoed(message.player, message.sequence);
  }

  /** A data channel is gone: what its sender held down is let go, unless it is held down on another one by now. */
  channelClosed(channel: string): void {
    const gone = this.#receivers.get(channel);
    this.#receivers.delete(channel);
    for (const { player, index } of gone?.held() ?? []) {
      const elsewhere = [...this.#receivers.values()].some((each) => each.holds(player, index));
      if (!elsewhere) this.emit("input", { sequence: 0, player, index, value: 0 });
    }
  }

  /** At a host: all inputs given so far are in the frame just drawn. */
  confirm(): void {
    for (const [player, sequence] of this.#applied) this.#send(encodeEcho(player, sequence));
    this.#applied.clear();
  }

  #receiveAtHost(channel: string, message: Message): void {
    if (message.type === "delay") {
      this.emit("playerDelay", { player: message.player, milliseconds: message.milliseconds });
      return;
    }
    // The host's own seat is nobody else's to move.
    if (message.player === this.#slot || message.player === SPECTATOR_SLOT) return;
    let receiver = this.#receivers.get(channel);
    if (receiver === undefined) {
      receiver = new InputReceiver();
      this.#receivers.set(channel, receiver);
    }
    for (const input of receiver.receive(message)) {
      this.emit("input", input);
      if (input.sequence > 0) this.#applied.set(input.player, input.sequence);
    }
  }

  #measured(sample: number): void {
    this.#delay = this.#delay === null ? sample : this.#delay + (sample - this.#delay) * DELAY_WEIGHT;
    const now = this.#clock.now();
    if (now - this.#reportedAt < DELAY_REPORT_INTERVAL) return;
    this.#reportedAt = now;
    this.#send(encodeDelay(this.#slot, this.#delay));
  }
}
