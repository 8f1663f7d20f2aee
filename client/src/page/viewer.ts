/** The guests' side: shows the host's picture, plays its sound, and deals with browsers that hold sound back. */

export class Viewer {
  readonly #video: HTMLVideoElement;
  readonly #audio: HTMLAudioElement;
  readonly #listen: HTMLButtonElement;
  readonly #onPicture: (there: boolean) => void;

  constructor(
    video: HTMLVideoElement,
    audio: HTMLAudioElement,
    listen: HTMLButtonElement,
    onPicture: (there: boolean) => void,
  ) {
    this.#video = video;
    this.#audio = audio;
    this.#listen = listen;
    this.#onPicture = onPicture;
    listen.addEventListener("click", () => void this.#hear());
    video.addEventListener("playing", () => onPicture(true));
  }

  set volume(volume: number) {
    this.#audio.volume = volume;
    this.#audio.muted = volume === 0;
  }

  /** Picture and sound are separate streams, so that neither waits for the other. */
  show(kind: "audio" | "video", track: MediaStreamTrack): void {
    const stream = new MediaStream([track]);
    if (kind === "video") {
      this.#video.srcObject = stream;
      this.#video.play().catch(() => undefined); // muted: always allowed; interrupted only by the next track
    } else {
      this.#audio.srcObject = stream;
      void this.#hear();
    }
  }

  /** The track's producer is gone; the last picture stays until another comes. */
  ended(kind: "audio" | "video"): void {
    if (kind === "video") this.#onPicture(false);
  }

  stop(): void {
    this.#video.srcObject = null;
    this.#audio.srcObject = null;
    this.#listen.hidden = true;
  }

  async #hear(): Promise<void> {
    try {
      await this.#audio.play();
      this.#listen.hidden = true;
    } catch (error) {
      // Only a browser that waits for a click needs one; a play that a newer track interrupted does not.
      if (error instanceof DOMException && error.name === "NotAllowedError") this.#listen.hidden = false;
    }
  }
}
