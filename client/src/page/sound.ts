/** The game's sounds: short blips, made on the spot, to the speakers and into a track for the others. */

import type { GameEvent } from "./game.js";

interface Blip {
  /** Hertz at the start and at the end. */
  readonly from: number;
  readonly to: number;
  /** Seconds. */
  readonly length: number;
  readonly type: OscillatorType;
}

const BLIPS: Readonly<Record<GameEvent, readonly Blip[]>> = {
  serve: [{ from: 520, to: 780, length: 0.09, type: "triangle" }],
  paddle: [{ from: 480, to: 440, length: 0.06, type: "square" }],
  wall: [{ from: 240, to: 230, length: 0.05, type: "square" }],
  point: [{ from: 330, to: 120, length: 0.28, type: "sawtooth" }],
  win: [
    { from: 523, to: 523, length: 0.12, type: "triangle" },
    { from: 659, to: 659, length: 0.12, type: "triangle" },
    { from: 784, to: 1_047, length: 0.3, type: "triangle" },
  ],
};
const LOUDNESS = 0.12;

export class Sound {
  readonly #context = new AudioContext({ latencyHint: "interactive" });
  readonly #mix: GainNode;
  readonly #speakers: GainNode;
  readonly #capture: MediaStreamAudioDestinationNode;

  constructor() {
    this.#mix = this.#context.createGain();
    this.#speakers = this.#context.createGain();
    this.#capture = this.#context.createMediaStreamDestination();
    this.#mix.connect(this.#speakers).connect(this.#context.destination);
    this.#mix.connect(this.#capture);
  }

  /** What the others hear: the mix, whatever our own volume is. */
  get track(): MediaStreamTrack {
    const [track] = this.#capture.stream.getAudioTracks();
    if (track === undefined) throw new Error("the audio destination has no track");
    return track;
  }

  /** Our own volume, 0 to 1. */
  set volume(volume: number) {
    this.#speakers.gain.value = volume;
  }

  /** Browsers start sound only after the user did something; called from such a moment, never fails. */
  async resume(): Promise<void> {
    await this.#context.resume().catch(() => undefined);
  }

  play(event: GameEvent): void {
    let at = this.#context.currentTime;
    for (const { from, to, length, type } of BLIPS[event]) {
      const tone = new OscillatorNode(this.#context, { type, frequency: from });
      tone.frequency.linearRampToValueAtTime(to, at + length);
      const envelope = new GainNode(this.#context, { gain: 0 });
      envelope.gain.setValueAtTime(LOUDNESS, at);
      envelope.gain.exponentialRampToValueAtTime(0.001, at + length);
      tone.connect(envelope).connect(this.#mix);
      tone.start(at);
      tone.stop(at + length);
      at += length;
    }
  }

  async close(): Promise<void> {
    this.track.stop();
    await this.#context.close();
  }
}
