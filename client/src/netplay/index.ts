/** Netplay for pages that are not this one: see README.md in this folder. */

export { type Clock, systemClock } from "./clock.js";
export type { Unsubscribe } from "./emitter.js";
export { BUTTONS, INPUT_COUNT, type Input, type Message, decodeUntrusted, encodeInput } from "./input.js";
export type { VideoOptions } from "./graph.js";
export type { MediaState } from "./media.js";
export { MAX_ROOM_NAME, type Member, type RoomSummary, SPECTATOR_SLOT } from "./protocol.js";
export { type RoomView, freeSlots, isPlayer } from "./room.js";
export type {
  JoinOptions,
  LeaveReason,
  OpenOptions,
  SessionEvents,
  SessionOptions,
  SessionState,
} from "./options.js";
export { NetplaySession } from "./session.js";
export { type IoFactory, type LinkState, RequestError, type TokenProvider } from "./signaling.js";
export type { LiveStats } from "./stats.js";
