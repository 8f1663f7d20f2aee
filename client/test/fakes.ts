/** Stand-ins for what the netplay module is given: a clock that is wound by hand, and a scripted Socket.IO. */

import type { Clock, Timer } from "../src/netplay/clock.js";
import type { IoFactory, IoOptions, SocketLike } from "../src/netplay/signaling.js";

export class FakeClock implements Clock {
  #now = 0;
  #next = 1;
  readonly #timers = new Map<number, { at: number; callback: () => void }>();

  now(): number {
    return this.#now;
  }

  setTimeout(callback: () => void, milliseconds: number): Timer {
    const id = this.#next++;
    this.#timers.set(id, { at: this.#now + milliseconds, callback });
    return id;
  }

  clearTimeout(timer: Timer): void {
    this.#timers.delete(timer as number);
  }

  get timers(): number {
    return this.#timers.size;
  }

  advance(milliseconds: number): void {
    const end = this.#now + milliseconds;
    for (;;) {
      const due = [...this.#timers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at)[0];
      if (due === undefined) break;
      this.#timers.delete(due[0]);
      this.#now = due[1].at;
      due[1].callback();
    }
    this.#now = end;
  }
}

/** Let everything that is ready to run, run. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
}

export type Answer = (payload: any) => unknown[] | undefined;

/** A Socket.IO server and its client in one: `answers` says how each request is acknowledged. */
export class FakeIo {
  readonly sent: { name: string; payload: unknown; timeout?: number }[] = [];
  readonly answers = new Map<string, Answer>();
  readonly tokens: (string | undefined)[] = [];
  /** Refuse the connection of clients with these tokens. */
  readonly refused = new Set<string>();
  connects = 0;
  /** Servers that were connected to. */
  readonly urls: string[] = [];
  /** Servers that do not answer. */
  readonly dead = new Set<string>();
  readonly #listeners = new Map<string, ((...args: any[]) => void)[]>();
  #connected = false;
  #active = false;
  #options: IoOptions | null = null;
  #url = "";

  readonly factory: IoFactory = (url, options) => {
    this.#options = options;
    this.#url = url;
    const outer = this;
    const socket: SocketLike = {
      get id() {
        return outer.#connected ? `socket-${outer.connects}` : undefined;
      },
      get connected() {
        return outer.#connected;
      },
      get active() {
        return outer.#active;
      },
      on: (event, listener) => {
        this.#listeners.set(event, [...(this.#listeners.get(event) ?? []), listener]);
      },
      emit: (name, payload) => {
        this.sent.push({ name, payload });
      },
      timeout: (milliseconds) => ({
        emit: (name: string, ...args: unknown[]) => {
          const [payload, ack] = args as [unknown, (lost: Error | null, ...rest: unknown[]) => void];
          this.sent.push({ name, payload, timeout: milliseconds });
          const answer = (this.answers.get(name) ?? (() => [null]))(payload);
          queueMicrotask(() => (answer === undefined ? ack(new Error("timeout")) : ack(null, ...answer)));
        },
      }),
      connect: () => this.connect(),
      disconnect: () => this.drop("io client disconnect", false),
    };
    return socket;
  };

  /** What the library does on `connect()` and on its own retries. */
  connect(): void {
    if (this.dead.has(this.#url)) return;
    this.urls.push(this.#url);
    this.#options?.auth((data) => {
      const token = data["token"];
      this.tokens.push(token);
      this.#active = token !== undefined && !this.refused.has(token);
      this.#connected = this.#active;
      if (this.#connected) this.connects += 1;
      this.say(this.#connected ? "connect" : "connect_error", new Error("unauthorized"));
    });
  }

  drop(reason = "transport close", active = true): void {
    if (!this.#connected) return;
    this.#connected = false;
    this.#active = active;
    this.say("disconnect", reason);
  }

  /** An event from the server. */
  say(event: string, payload?: unknown): void {
    for (const listener of this.#listeners.get(event) ?? []) listener(payload);
  }

  names(): string[] {
    return this.sent.map(({ name }) => name);
  }
}
