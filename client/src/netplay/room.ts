/**
 * Who is in the room, who hosts it and which slot is ours: a pure fold over what the server says.
 *
 * Our own row is the one with our socket id. `player-slot-updated` is sent for every member, so it moves our
 * slot only when it names us.
 */

import { type Member, SPECTATOR_SLOT, parseMembers, parseSlotChange } from "./protocol.js";

export interface RoomView {
  readonly name: string;
  readonly members: readonly Member[];
  /** Our own row; null until the server has listed us. */
  readonly me: Member | null;
  readonly host: Member | null;
}

export function emptyRoom(name: string): RoomView {
  return { name, members: [], me: null, host: null };
}

/** Fold a `users-updated` payload in. */
export function withUsers(room: RoomView, payload: unknown, socketId: string): RoomView {
  return view(room.name, parseMembers(payload), socketId, room.me?.id);
}

/** Fold a `player-slot-updated` payload in; the same view comes back if it changes nothing. */
export function withSlot(room: RoomView, payload: unknown): RoomView {
  const change = parseSlotChange(payload);
  if (change === null) return room;
  const before = room.members.find((member) => member.id === change.id);
  if (before === undefined || before.slot === change.slot) return room;
  const members = room.members
    .map((member) => (member.id === change.id ? { ...member, slot: change.slot } : member))
    .sort((a, b) => a.slot - b.slot);
  return view(room.name, members, room.me?.socketId ?? "", room.me?.id);
}

/** Slots that nobody holds, lowest first, in a room for `maxPlayers`. */
export function freeSlots(room: RoomView, maxPlayers: number): number[] {
  const taken = new Set(room.members.map((member) => member.slot));
  return Array.from({ length: maxPlayers }, (_, slot) => slot).filter((slot) => !taken.has(slot));
}

export function isPlayer(member: Member): boolean {
  return member.slot !== SPECTATOR_SLOT;
}

function view(name: string, members: readonly Member[], socketId: string, id: string | undefined): RoomView {
  const me =
    members.find((member) => socketId !== "" && member.socketId === socketId) ??
    members.find((member) => member.id === id) ??
    null;
  return { name, members, me, host: members.find((member) => member.isHost) ?? null };
}
