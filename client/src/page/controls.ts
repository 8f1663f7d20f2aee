/** Keyboard and touch, as the two buttons this game has. */

export type Press = "up" | "down";

const KEYS: Readonly<Record<string, Press>> = {
  KeyW: "up",
  ArrowUp: "up",
  KeyS: "down",
  ArrowDown: "down",
};

/**
 * Reports presses and releases while `active()`. Two keys of one button count as one. Keys typed into a form field
 * are the field's; everything is let go when the window loses the keyboard.
 */
export class Controls {
  readonly #held = new Set<string>();
  readonly #pressed: Record<Press, boolean> = { up: false, down: false };
  readonly #active: () => boolean;
  readonly #report: (press: Press, down: boolean) => void;

  constructor(pad: HTMLElement, active: () => boolean, report: (press: Press, down: boolean) => void) {
    this.#active = active;
    this.#report = report;
    window.addEventListener("keydown", (event) => {
      const press = KEYS[event.code];
      if (
        press === undefined ||
        !active() ||
        event.ctrlKey ||
        event.altKey ||
        event.metaKey ||
        isField(event.target)
      )
        return;
      event.preventDefault();
      this.#hold(event.code, press);
    });
    window.addEventListener("keyup", (event) => {
      if (KEYS[event.code] !== undefined) this.#letGo(event.code);
    });
    window.addEventListener("blur", () => this.releaseAll());
    document.addEventListener("visibilitychange", () => this.releaseAll());
    for (const element of pad.querySelectorAll<HTMLButtonElement>("button[data-input]")) {
      const press = element.dataset["input"] as Press;
      element.addEventListener("pointerdown", (event) => {
        element.setPointerCapture(event.pointerId);
        this.#hold(`pad-${press}`, press);
      });
      for (const end of ["pointerup", "pointercancel", "lostpointercapture"] as const) {
        element.addEventListener(end, () => this.#letGo(`pad-${press}`));
      }
      element.addEventListener("contextmenu", (event) => event.preventDefault());
    }
  }

  releaseAll(): void {
    this.#held.clear();
    this.#update();
  }

  #hold(source: string, press: Press): void {
    if (!this.#active()) return;
    this.#held.add(`${press}:${source}`);
    this.#update();
  }

  #letGo(source: string): void {
    for (const held of this.#held) if (held.endsWith(`:${source}`)) this.#held.delete(held);
    this.#update();
  }

  #update(): void {
    for (const press of ["up", "down"] as const) {
      const down = [...this.#held].some((held) => held.startsWith(`${press}:`));
      if (down === this.#pressed[press]) continue;
      this.#pressed[press] = down;
      this.#report(press, down);
    }
  }
}

function isField(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLInputElement ||
    target instanceof HTMLSelectElement ||
    target instanceof HTMLTextAreaElement
  );
}
