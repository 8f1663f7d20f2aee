/**
 * The signaling link: one Socket.IO connection, requests with time-outs, and a fresh token for every connect.
 *
 *     idle ── connect() ─> connecting ── connect ─> connected ── lost ─> connecting
 *                              └── the server refuses, REFUSALS times in a row ─> refused
 *     connected ── the server hangs up ─> connecting; after a taken-over notice, or again at once ─> replaced
 *     any ── close() ─> closed
 *
 * Socket.IO retries lost connections by itself, but neither a refused one nor one that the server ended. A refusal
 * usually means that the token has expired, so the token provider is asked for a new one and the connection is tried
 * again. A server ends connections when it stops, and then comes back; or because the same user continues on another
 * one, and then two windows that both insist would throw each other out for ever.
 */

import { type Clock, type Timer, systemClock } from "./clock.js";
import { Emitter } from "./emitter.js";
import { type Requests, SERVER_EVENTS, type ServerEvent } from "./protocol.js";

/** How long a request waits for its acknowledgement, in milliseconds. */
export const REQUEST_TIMEOUT = 10_000;
/** How many refusals in a row end the attempts. */
export const REFUSALS = 4;
/** Wait before trying again after the first refusal, in milliseconds; doubles each time. */
export const REFUSAL_DELAY = 500;

/** Wait before connecting again to a server that hung up, in milliseconds. */
export const HANGUP_DELAY = 500;
/** A server that hangs up twice within this time means it, in milliseconds. */
export const HANGUP_WINDOW = 15_000;

/** The part of socket.io-client's options that is used. */
export interface IoOptions {
  autoConnect: boolean;
  forceNew: boolean;
  auth: (answer: (data: Record<string, string>) => void) => void;
  transports?: string[];
}

/** The part of socket.io-client's `Socket` that is used. */
export interface SocketLike {
  readonly id?: string | undefined;
  readonly connected: boolean;
  /** Whether the library will reconnect by itself. */
  readonly active: boolean;
  on(event: string, listener: (...args: any[]) => void): unknown;
  emit(event: string, ...args: unknown[]): unknown;
  timeout(milliseconds: number): { emit(event: string, ...args: unknown[]): unknown };
  connect(): unknown;
  disconnect(): unknown;
}

/** socket.io-client's `io`. */
export type IoFactory = (url: string, options: IoOptions) => SocketLike;

/**
 * Where tokens come from. Asked before every connect; `renew` is true when the last one was refused, so that a
 * cached token must not be given again.
 */
export type TokenProvider = (renew: boolean) => Promise<string>;

export type LinkState = "idle" | "connecting" | "connected" | "refused" | "replaced" | "closed";

/** Why a request failed. `message` is fit to show; `code` and `details` are for programs. */
export class RequestError extends Error {
  constructor(
    message: string,
    /** `refused`: the server said no. `timeout`: it said nothing. `offline`: there is no connection. */
    readonly code: "refused" | "timeout" | "offline",
    /** The server's own words, or the object it sent instead. */
    readonly details: unknown = message,
  ) {
    super(message);
    this.name = "RequestError";
  }
}

export interface SignalingEvents {
  state: LinkState;
  /** Connected, for the first time (`first`) or again. */
  connected: { first: boolean };
  message: { event: ServerEvent; payload: unknown };
}

export interface SignalingOptions {
  /** Base URL of the server; a path in it is not used. */
  url: string;
  io: IoFactory;
  token: TokenProvider;
  clock?: Clock;
  /** Engine.IO transports, for networks that only let one through; the library's default otherwise. */
  transports?: string[];
}

export class Signaling extends Emitter<SignalingEvents> {
  readonly #options: SignalingOptions;
  readonly #clock: Clock;
  #url: string;
  #socket: SocketLike | null = null;
  #state: LinkState = "idle";
  #refusals = 0;
  #renew = false;
  #connectedBefore = false;
  #retry: Timer = null;
  #lastError = "The server does not answer.";
  #givingWay = false;
  #hungUpAt = -Infinity;

  constructor(options: SignalingOptions) {
    super();
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#url = options.url;
  }

  /** The server we are connected to, or connecting. */
  get url(): string {
    return this.#url;
  }

  get state(): LinkState {
    return this.#state;
  }

  get connected(): boolean {
    return this.#state === "connected";
  }

  /** This connection's id, by which the member list names us; empty while not connected. */
  get socketId(): string {
    return this.#socket?.id ?? "";
  }

  /**
   * Connect, and keep connected until {@link close}.
   * @throws RequestError if the first connection does not come about within {@link REQUEST_TIMEOUT}.
   */
  connect(): Promise<void> {
    if (this.#state === "connected") return Promise.resolve();
    if (this.#state === "closed") return Promise.reject(new RequestError("The link is closed.", "offline"));
    const settled = new Promise<void>((resolve, reject) => {
      const finish = (error?: RequestError): void => {
        off();
        this.#clock.clearTimeout(timer);
        if (error === undefined) resolve();
        else reject(error);
      };
      const timer = this.#clock.setTimeout(
        () => finish(new RequestError(this.#lastError, "timeout")),
        REQUEST_TIMEOUT,
      );
      const off = this.on("state", (state) => {
        if (state === "connected") finish();
        else if (state !== "connecting") finish(new RequestError(this.#lastError, "refused"));
      });
    });
    this.#refusals = 0;
    this.#givingWay = false;
    if (this.#socket === null) this.#socket = this.#makeSocket();
    this.#enter("connecting");
    this.#socket.connect();
    return settled;
  }

  /**
   * Go on at another server of the group. Nothing comes from the old one any more.
   * @throws RequestError as {@link connect} does.
   */
  moveTo(url: string): Promise<void> {
    if (this.#state === "closed") return this.connect();
    this.#clock.clearTimeout(this.#retry);
    const old = this.#socket;
    this.#socket = null;
    old?.disconnect();
    this.#url = url;
    this.#renew = false;
    this.#enter("connecting");
    return this.connect();
  }

  /** Hang up and call again, because nobody seems to be there: the network has changed under a link. */
  reconnect(): void {
    if (this.#state !== "connected") return;
    this.#socket?.disconnect();
    this.#socket?.connect();
  }

  /** The same user continues on another connection: the end of this one, which is about to come, is final. */
  giveWay(): void {
    this.#givingWay = true;
  }

  /** Hang up for good. */
  close(): void {
    this.#clock.clearTimeout(this.#retry);
    if (this.#state === "closed") return;
    this.#enter("closed");
    const socket = this.#socket;
    this.#socket = null;
    socket?.disconnect();
    this.clear();
  }

  /**
   * Send a request and wait for its acknowledgement (`error` first, then the result).
   * @throws RequestError for whatever goes wrong.
   */
  request<Name extends keyof Requests>(
    name: Name,
    payload: Requests[Name]["payload"],
    timeout = REQUEST_TIMEOUT,
  ): Promise<Requests[Name]["result"]> {
    const socket = this.#socket;
    if (socket === null || !socket.connected) {
      return Promise.reject(new RequestError("There is no connection to the server right now.", "offline"));
    }
    return new Promise((resolve, reject) => {
      socket.timeout(timeout).emit(name, payload, (lost: Error | null, error?: unknown, result?: unknown) => {
        if (lost) {
          const code = socket.connected ? "timeout" : "offline";
          reject(new RequestError(`The server did not answer ${name}.`, code));
        } else if (error) {
          reject(refusal(error));
        } else {
          resolve(result as Requests[Name]["result"]);
        }
      });
    });
  }

  /** Send an event that nobody acknowledges; dropped while there is no connection. */
  notify(event: string, payload: object): void {
    if (this.#socket?.connected === true) this.#socket.emit(event, payload);
  }

  #makeSocket(): SocketLike {
    const { io, token, transports } = this.#options;
    const socket = io(this.#url.replace(/\/+$/, ""), {
      autoConnect: false,
      forceNew: true,
      auth: (answer) => {
        token(this.#renew).then(
          (value) => answer({ token: value }),
          (error: unknown) => {
            this.#lastError = error instanceof Error ? error.message : String(error);
            answer({}); // refused by the server, which leads to another attempt
          },
        );
      },
      ...(transports === undefined ? {} : { transports }),
    });
    const isOurs = (): boolean => this.#socket === socket;
    socket.on("connect", () => {
      if (!isOurs()) return;
      const first = !this.#connectedBefore;
      this.#connectedBefore = true;
      this.#refusals = 0;
      this.#renew = false;
      this.#enter("connected");
      this.emit("connected", { first });
    });
    socket.on("connect_error", (error: Error) => {
      if (!isOurs()) return;
      if (socket.active) {
        this.#enter("connecting"); // the network is down; the library tries again by itself
        return;
      }
      this.#lastError = error.message;
      this.#renew = true;
      this.#refusals += 1;
      if (this.#refusals >= REFUSALS) {
        this.#enter("refused");
        return;
      }
      this.#enter("connecting");
      this.#retry = this.#clock.setTimeout(() => socket.connect(), REFUSAL_DELAY * 2 ** (this.#refusals - 1));
    });
    socket.on("disconnect", (reason: string) => {
      if (!isOurs()) return;
      if (reason === "io server disconnect") this.#hungUp(socket);
      else this.#enter("connecting");
    });
    for (const event of SERVER_EVENTS) {
      socket.on(event, (payload: unknown) => {
        if (isOurs()) this.emit("message", { event, payload });
      });
    }
    return socket;
  }

  #hungUp(socket: SocketLike): void {
    const now = this.#clock.now();
    const again = now - this.#hungUpAt < HANGUP_WINDOW;
    this.#hungUpAt = now;
    if (this.#givingWay || again) {
      this.#enter("replaced");
      return;
    }
    this.#enter("connecting");
    this.#retry = this.#clock.setTimeout(() => socket.connect(), HANGUP_DELAY);
  }

  #enter(state: LinkState): void {
    if (this.#state === state) return;
    this.#state = state;
    this.emit("state", state);
  }
}

/** Errors are strings, except some of `join-room`, which are objects with `error` and `message`. */
function refusal(error: unknown): RequestError {
  if (typeof error === "string") return new RequestError(error, "refused");
  const { message, error: code } = (error ?? {}) as { message?: unknown; error?: unknown };
  const words = typeof message === "string" ? message : typeof code === "string" ? code : "refused";
  return new RequestError(words, "refused", error);
}
