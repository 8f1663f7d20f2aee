/** What a session is given, and what it tells. */

import type { types } from "mediasoup-client";

import type { Clock } from "./clock.js";
import type { VideoOptions } from "./graph.js";
import type { Input } from "./input.js";
import type { MediaState } from "./media.js";
import type { RoomSummary } from "./protocol.js";
import type { RoomView } from "./room.js";
import type { IoFactory, LinkState, TokenProvider } from "./signaling.js";
import type { LiveStats } from "./stats.js";

export type SessionState = "offline" | "lobby" | "entering" | "room" | "rejoining" | "closed";

/** Why we are not in the room any more. */
export type LeaveReason =
  /** We said so. */
  | "left"
  /** The host left; there is nothing to see. */
  | "host-left"
  /** The room is gone, or will not have us back. */
  | "room-lost"
  /** The server dropped this link in favour of another one of the same user. */
  | "replaced"
  /** The server refuses us altogether. */
  | "refused";

export interface SessionEvents {
  state: SessionState;
  link: LinkState;
  rooms: readonly RoomSummary[];
  room: RoomView;
  media: MediaState;
  track: { kind: "audio" | "video"; track: MediaStreamTrack };
  trackEnded: { kind: "audio" | "video" };
  /** At a host: an input to apply to the game now. */
  input: Input;
  /** At a host: a player's own measurement of its input delay, in milliseconds. */
  playerDelay: { player: number; milliseconds: number };
  paused: boolean;
  stats: LiveStats;
  left: { reason: LeaveReason; message: string };
  /** Something went wrong that the session deals with by itself; for logs. */
  trouble: Error;
}

export interface SessionOptions {
  /** Base URL of the server. */
  url: string;
  /** socket.io-client's `io`. */
  io: IoFactory;
  /** mediasoup-client's `Device`. */
  Device: new () => types.Device;
  token: TokenProvider;
  clock?: Clock;
  /** Gives 32 random bits. */
  random?: () => number;
  /** Engine.IO transports; the library's default otherwise. */
  transports?: string[];
}

export interface OpenOptions {
  readonly name: string;
  readonly maxPlayers?: number;
  readonly password?: string;
  /** What is being played, for the room list. */
  readonly game?: string;
  readonly video: MediaStreamTrack;
  readonly audio?: MediaStreamTrack;
  readonly videoOptions?: VideoOptions;
}

export interface JoinOptions {
  readonly name: string;
  readonly password?: string;
  /** Watch only. */
  readonly spectator?: boolean;
  /** The slot we would like; the server gives the lowest free one if it is taken. */
  readonly slot?: number;
}
