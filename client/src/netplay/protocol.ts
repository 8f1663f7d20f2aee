/**
 * The wire contract: what goes over the Socket.IO connection, and the parsers that turn what the server says
 * into values the rest of the module can trust. A parser takes any JSON value and never throws.
 */

import type { types } from "mediasoup-client";

/** The slot that means "watches, does not play". Any number of members may share it. */
export const SPECTATOR_SLOT = 8;
/** Slots 0 to 7 can hold a player; a room's `max` says how many of them exist. */
export const MAX_PLAYER_SLOTS = 8;
/** Label of the data channel that carries inputs towards the host. */
export const INPUT_LABEL = "netplay-input";
/** Label of a player's channel for runs, which exists only while the host takes them: see runs.ts. */
export const RUN_LABEL = "netplay-runs";
/** Label of the data channel on which the host answers inputs. Its protocol says whether the host takes runs. */
export const STATE_LABEL = "netplay-state";
/** Longest room name the server accepts, in UTF-16 units. */
export const MAX_ROOM_NAME = 64;
/** How many rooms or members of one list are looked at; what follows is ignored. */
export const MAX_LIST = 2_000;

/** Reasons of `room-closed` that do not mean that the room is over: the server stops, we are in it elsewhere. */
export const REASON_STOPPING = "server stopping";
export const REASON_TAKEN_OVER = "taken over";

export type Kind = "audio" | "video";

/** A room as the list shows it. */
export interface RoomSummary {
  /** What `join` takes. */
  readonly id: string;
  readonly name: string;
  readonly players: number;
  readonly maxPlayers: number;
  readonly hasPassword: boolean;
  readonly mode: string;
  /** What is being played, if the host said so. */
  readonly game: string | null;
}

/** One member of the room we are in. */
export interface Member {
  readonly id: string;
  readonly socketId: string;
  readonly name: string;
  /** 0 to 7 for players, {@link SPECTATOR_SLOT} for those who watch. */
  readonly slot: number;
  readonly isHost: boolean;
  /** The link to this member is gone; the server keeps the seat for a while. */
  readonly reconnecting: boolean;
}

export interface ProducerInfo {
  readonly id: string;
  /** Older servers leave it out of `new-producer`. */
  readonly kind?: Kind;
}

export interface DataProducerInfo {
  readonly id: string;
  /** An extension: without it the label is known only after consuming. */
  readonly label?: string;
}

export interface ConsumerInfo {
  readonly id: string;
  readonly producerId: string;
  readonly kind: Kind;
  readonly rtpParameters: types.RtpParameters;
}

export interface DataConsumerInfo {
  readonly id: string;
  readonly dataProducerId: string;
  readonly sctpStreamParameters: types.SctpStreamParameters;
  readonly label: string;
  readonly protocol: string;
}

/** What a member says about itself on `open-room` and `join-room`; the server supplies identity and name. */
export interface MemberExtra {
  readonly room_name: string;
  readonly player_slot: number;
  readonly is_spectator?: boolean;
  readonly netplay_mode?: 0 | 1;
  readonly room_phase?: string;
  readonly spectator_mode?: 0 | 1;
  readonly rom_name?: string;
  readonly input_mode?: string;
}

/** Every request: its payload and what its acknowledgement carries. */
export interface Requests {
  "open-room": {
    payload: { extra: MemberExtra; maxPlayers: number; password: string | null };
    result: undefined;
  };
  "join-room": { payload: { extra: MemberExtra; password: string | null }; result: unknown };
  "leave-room": { payload: { roomName: string; reason?: string }; result: undefined };
  "update-player-slot": { payload: { roomName: string; playerSlot: number }; result: undefined };
  "request-room-list": { payload: Record<string, never>; result: undefined };
  "sfu-get-router-rtp-capabilities": { payload: Record<string, never>; result: types.RtpCapabilities };
  "sfu-create-transport": { payload: { direction: "send" | "recv" }; result: types.TransportOptions };
  "sfu-connect-transport": {
    payload: { transportId: string; dtlsParameters: types.DtlsParameters };
    result: unknown;
  };
  "sfu-restart-ice": { payload: { transportId: string }; result: { iceParameters: types.IceParameters } };
  "sfu-recreate-transports": { payload: Record<string, never>; result: unknown };
  "sfu-produce": {
    payload: { transportId: string; kind: Kind; rtpParameters: types.RtpParameters; appData: object };
    result: string | { id: string };
  };
  "sfu-consume": {
    payload: {
      producerId: string;
      transportId: string;
      rtpCapabilities: types.RtpCapabilities;
      ignoreDtx?: boolean;
    };
    result: ConsumerInfo;
  };
  "sfu-get-producers": { payload: Record<string, never>; result: unknown };
  producedata: {
    payload: {
      transportId: string;
      sctpStreamParameters: types.SctpStreamParameters;
      label: string;
      protocol: string;
      appData: object;
    };
    result: string | { id: string };
  };
  consumedata: { payload: { dataProducerId: string; transportId: string }; result: DataConsumerInfo };
  "sfu-get-data-producers": { payload: Record<string, never>; result: unknown };
}

/** Events the server sends by itself that this module acts on; payloads are checked where they are used. */
export const SERVER_EVENTS = [
  "rooms-updated",
  "users-updated",
  "player-slot-updated",
  "new-producer",
  "new-data-producer",
  "producer-closed",
  "data-producer-closed",
  "transports-lost",
  "room-closed",
  "room-redirect",
  "netplay-host-paused",
  "netplay-host-resumed",
] as const;

export type ServerEvent = (typeof SERVER_EVENTS)[number];

function record(value: unknown): Record<string, unknown> | null {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : null;
}

function text(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? value : null;
}

function count(value: unknown, fallback: number): number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 ? value : fallback;
}

/** `rooms-updated`: an array of rooms. Rows without a name and rooms without players are left out. */
export function parseRooms(value: unknown): RoomSummary[] {
  if (!Array.isArray(value)) return [];
  const rooms: RoomSummary[] = [];
  for (const row of value.slice(0, MAX_LIST)) {
    const entry = record(row);
    const id = text(entry?.["id"]) ?? text(entry?.["name"]);
    if (entry === null || id === null) continue;
    const players = count(entry["current"], 0);
    if (players === 0) continue;
    rooms.push({
      id,
      name: text(entry["name"]) ?? id,
      players,
      maxPlayers: count(entry["max"], 4),
      hasPassword: entry["hasPassword"] === true,
      mode:
        entry["netplay_mode"] === "delay_sync" || entry["netplay_mode"] === 1 ? "delay_sync" : "live_stream",
      game: text(entry["rom_name"]),
    });
  }
  return rooms;
}

/** `users-updated`: a map of members by user id, players first by slot, then those who watch, in join order. */
export function parseMembers(value: unknown): Member[] {
  const map = record(value);
  if (map === null) return [];
  const members: Member[] = [];
  for (const [id, row] of Object.entries(map).slice(0, MAX_LIST)) {
    const entry = record(row);
    if (entry === null) continue;
    const wanted = entry["player_slot"] ?? entry["slot"];
    const watches = entry["is_spectator"] === true || !isPlayerSlot(wanted);
    members.push({
      id,
      socketId: text(entry["socketId"]) ?? text(entry["socket_id"]) ?? "",
      name: text(entry["netplay_username"]) ?? text(entry["player_name"]) ?? text(entry["name"]) ?? "Player",
      slot: watches ? SPECTATOR_SLOT : (wanted as number),
      isHost: entry["is_host"] === true,
      reconnecting: entry["reconnecting"] === true,
    });
  }
  return members.sort((a, b) => a.slot - b.slot);
}

/** Whether `value` is a slot somebody can play in. */
export function isPlayerSlot(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value < MAX_PLAYER_SLOTS;
}

/** `player-slot-updated`: who sits where now, or null for anything else. */
export function parseSlotChange(value: unknown): { id: string; slot: number } | null {
  const entry = record(value);
  const id = text(entry?.["playerId"]);
  const slot = entry?.["playerSlot"];
  if (id === null || !(isPlayerSlot(slot) || slot === SPECTATOR_SLOT)) return null;
  return { id, slot };
}

/** One row of `new-producer` or `sfu-get-producers`. */
export function parseProducer(value: unknown): ProducerInfo | null {
  const entry = record(value);
  const id = text(entry?.["id"]);
  if (id === null) return null;
  const kind = entry?.["kind"];
  return kind === "audio" || kind === "video" ? { id, kind } : { id };
}

/** One row of `new-data-producer` or `sfu-get-data-producers`. */
export function parseDataProducer(value: unknown): DataProducerInfo | null {
  const entry = record(value);
  const id = text(entry?.["id"]) ?? text(entry?.["dataProducerId"]);
  if (id === null) return null;
  const label = text(entry?.["label"]);
  return label === null ? { id } : { id, label };
}

/** A list of rows, the unusable ones left out. */
export function parseList<Row>(value: unknown, parse: (row: unknown) => Row | null): Row[] {
  if (!Array.isArray(value)) return [];
  return value.slice(0, MAX_LIST).flatMap((row) => parse(row) ?? []);
}

/** The id in an acknowledgement of `sfu-produce` or `producedata`: a bare string, or an object with it. */
export function parseId(value: unknown): string | null {
  return text(value) ?? text(record(value)?.["id"]);
}

/** The `id` field of a notice such as `producer-closed`. */
export function parseNoticeId(value: unknown): string | null {
  return text(record(value)?.["id"]);
}

/**
 * Where an acknowledgement of `join-room` sends us: the server of the group that has the room; null if it does not.
 * Only http and https count, and from an https page only https.
 */
export function parseRedirect(value: unknown, home: string): string | null {
  const url = text(record(value)?.["redirect"]);
  if (url === null || !URL.canParse(url)) return null;
  const secure = URL.canParse(home) && new URL(home).protocol === "https:";
  const { protocol } = new URL(url);
  return protocol === "https:" || (protocol === "http:" && !secure) ? url : null;
}

/** The `reason` of a notice such as `room-closed`. */
export function parseReason(value: unknown): string | null {
  return text(record(value)?.["reason"]);
}
