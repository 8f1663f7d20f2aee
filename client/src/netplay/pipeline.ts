/**
 * Inputs from controller to game: a player's end sends and measures, a host's end receives and answers.
 *
 * The two ends share a class because a session has one pipeline and finds out which end it is when it has a seat.
 * Between two ends of this module inputs travel as runs, which lost messages do not delay. A player begins with the
 * single messages that every host reads, and changes over when the host has said that it takes runs.
 */

import { type Clock } from "./clock.js";
import { Emitter } from "./emitter.js";
import {
  type Input,
  InputReceiver,
  InputSender,
  type Message,
  type Send,
  type Sender,
  decodeUntrusted,
  encodeDelay,
  encodeEcho,
} from "./input.js";
import { SPECTATOR_SLOT } from "./protocol.js";
import { RunReceiver, RunSender } from "./repeat.js";
import { type Change, MAX_MARKS, type Marks, type Run, decodeRunUntrusted, encodeMarks } from "./runs.js";

/** Weight of the newest sample in the running average of the input delay. */
export const DELAY_WEIGHT = 0.2;
/** How often a player tells the host its input delay, in milliseconds. */
export const DELAY_REPORT_INTERVAL = 1_000;
/** How many senders of runs a host remembers; the one that was silent longest is forgotten. */
export const MAX_SENDERS = 64;

export interface PipelineEvents {
  /** At a host: an input to apply to the game now. */
  input: Input;
  /** At a host: a player's own measurement of its input delay. */
  playerDelay: { player: number; milliseconds: number };
}

export interface PipelineOptions {
  readonly hosts: boolean;
  /** Put a message on our data channel; false if it is not open. */
  readonly send: Send;
  /** The same, on the channel for runs. */
  readonly sendRun: Send;
  readonly clock: Clock;
  /** 32 random bits. */
  readonly random: () => number;
}

export class InputPipeline extends Emitter<PipelineEvents> {
  readonly #options: PipelineOptions;
  /** At a host, by channel. */
  readonly #receivers = new Map<string, InputReceiver>();
  /** At a host, by sender, the one that was silent longest first. */
  readonly #runs = new Map<number, RunReceiver>();
  /** At a host, by player: the number of the last input the game got and has not confirmed. */
  readonly #applied = new Map<number, number>();
  /** The same by sender of runs. */
  readonly #appliedRuns = new Map<number, number>();
  #slot = SPECTATOR_SLOT;
  #sender: Sender | null = null;
  /** At a player: the host takes runs, and our channel for them has opened. */
  #inRuns = false;
  #delay: number | null = null;
  #reportedAt = -Infinity;

  constructor(options: PipelineOptions) {
    super();
    this.#options = options;
  }

  /** At a player: milliseconds from an input to the host's word that it is in a frame, averaged; null until known. */
  get delay(): number | null {
    return this.#delay;
  }

  /** At a player: whether inputs are sent as runs. */
  get inRuns(): boolean {
    return this.#inRuns;
  }

  /** Take a seat. What is held down moves along; with the spectators it is let go. */
  sit(slot: number): void {
    this.#slot = slot;
    if (this.#options.hosts) return;
    if (slot === SPECTATOR_SLOT) {
      this.#sender?.release();
      this.#sender?.close();
      this.#sender = null;
    } else if (this.#sender === null) {
      this.#sender = this.#makeSender();
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
    if (!this.#inRuns) this.#sender?.resend();
  }

  /** Our channel for runs has opened: from now on inputs go there. */
  runsOpened(): void {
    if (this.#inRuns) this.#sender?.resend();
    else this.#speak(true);
  }

  /** The host has a new channel to us, and takes runs or does not. What is held down is said to it again. */
  hostChannel(takesRuns: boolean): void {
    if (!this.#inRuns) return;
    if (takesRuns) this.#sender?.resend();
    else this.#speak(false);
  }

  /** A message on the data channel of somebody else. */
  receive(channel: string, data: unknown): void {
    const packed = decodeRunUntrusted(data);
    if (packed !== null) {
      if (packed.type !== "run") this.#acknowledged(packed);
      else if (this.#options.hosts) this.#receiveRun(channel, packed);
      return;
    }
    const message = decodeUntrusted(data);
    if (message === null) return;
    if (this.#options.hosts) this.#receiveAtHost(channel, message);
    else if (message.type === "echo" && this.#sender instanceof InputSender)
      this.#sender.echoed(message.player, message.sequence);
  }

  /** A data channel is gone: what its sender held down is let go, unless it is held down on another one by now. */
  channelClosed(channel: string): void {
    const gone = this.#receivers.get(channel)?.forget() ?? [];
    this.#receivers.delete(channel);
    for (const each of this.#runs.values()) {
      if (each.channel !== channel) continue;
      each.channel = ""; // but the sender is remembered: what it says again on a new channel is no news
      gone.push(...each.forget());
    }
    this.#letGo(gone);
  }

  /** At a host: all inputs given so far are in the frame just drawn. */
  confirm(): void {
    for (const [player, sequence] of this.#applied) this.#options.send(encodeEcho(player, sequence));
    this.#applied.clear();
    if (this.#appliedRuns.size === 0) return;
    const marks = [...this.#appliedRuns].map(([sender, number]) => ({ sender, number }));
    this.#appliedRuns.clear();
    for (let from = 0; from < marks.length; from += MAX_MARKS)
      this.#options.send(encodeMarks("shown", marks.slice(from, from + MAX_MARKS)));
  }

  /** Stop sending and forget the listeners. */
  close(): void {
    this.#sender?.close();
    this.#sender = null;
    this.clear();
  }

  #makeSender(held: readonly Change[] = []): Sender {
    const { send, sendRun, clock, random } = this.#options;
    const sender = this.#inRuns
      ? new RunSender(sendRun, clock, this.#slot, random(), held)
      : new InputSender(send, clock, this.#slot, held);
    sender.on("delay", (sample) => this.#measured(sample));
    return sender;
  }

  /** Change over between runs and single messages; what is held down stays so. */
  #speak(inRuns: boolean): void {
    this.#inRuns = inRuns;
    const before = this.#sender;
    if (before === null) return;
    before.close();
    this.#sender = this.#makeSender(before.held());
  }

  #acknowledged({ type, marks }: Marks): void {
    const sender = this.#sender;
    if (!(sender instanceof RunSender)) return;
    const mark = marks.find((each) => each.sender === sender.id);
    if (mark === undefined) return;
    sender.received(mark.sender, mark.number); // what is shown has been received
    if (type === "shown") sender.shown(mark.number);
  }

  #receiveRun(channel: string, run: Run): void {
    const known = this.#runs.get(run.sender);
    const receiver = known ?? new RunReceiver();
    // What the player said before it changed over to runs holds no longer.
    const before = known ? [] : [...this.#receivers.values()].flatMap((each) => each.forget(run.player));
    this.#runs.delete(run.sender); // to the end of the row
    this.#runs.set(run.sender, receiver);
    receiver.channel = channel;
    receiver.player = run.player;
    const inputs = receiver.receive(run);
    for (const input of inputs) this.#apply(input);
    this.#letGo(before);
    if (inputs.length > 0) this.#appliedRuns.set(run.sender, receiver.received);
    this.#options.send(encodeMarks("received", [{ sender: run.sender, number: receiver.received }]));
    this.#forgetSilent();
  }

  #forgetSilent(): void {
    for (const [sender, receiver] of this.#runs) {
      if (this.#runs.size <= MAX_SENDERS) return;
      this.#runs.delete(sender);
      this.#appliedRuns.delete(sender);
      this.#letGo(receiver.forget());
    }
  }

  #receiveAtHost(channel: string, message: Message): void {
    if (message.type === "delay") {
      this.emit("playerDelay", { player: message.player, milliseconds: message.milliseconds });
      return;
    }
    // A player that has changed over to runs: what it said before may come late, and must not undo what it says now.
    for (const each of this.#runs.values()) if (each.channel !== "" && each.player === message.player) return;
    if (message.player === this.#slot || message.player === SPECTATOR_SLOT) return;
    let receiver = this.#receivers.get(channel);
    if (receiver === undefined) {
      receiver = new InputReceiver();
      this.#receivers.set(channel, receiver);
    }
    for (const input of receiver.receive(message)) {
      this.#apply(input);
      if (input.sequence > 0) this.#applied.set(input.player, input.sequence);
    }
  }

  /** Let go of what nobody holds down elsewhere. */
  #letGo(inputs: readonly { player: number; index: number }[]): void {
    const all = [...this.#receivers.values(), ...this.#runs.values()];
    for (const { player, index } of inputs)
      if (!all.some((each) => each.holds(player, index)))
        this.#apply({ sequence: 0, player, index, value: 0 });
  }

  #apply(input: Input): void {
    // The host's own seat is nobody else's to move.
    if (input.player !== this.#slot) this.emit("input", input);
  }

  #measured(sample: number): void {
    this.#delay = this.#delay === null ? sample : this.#delay + (sample - this.#delay) * DELAY_WEIGHT;
    const now = this.#options.clock.now();
    if (now - this.#reportedAt < DELAY_REPORT_INTERVAL) return;
    this.#reportedAt = now;
    this.#options.send(encodeDelay(this.#slot, this.#delay));
  }
}
