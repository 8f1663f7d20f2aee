import assert from "node:assert/strict";
import { test } from "node:test";

import {
  MAX_LIST,
  SPECTATOR_SLOT,
  parseDataProducer,
  parseId,
  parseList,
  parseMembers,
  parseNoticeId,
  parseProducer,
  parseRedirect,
  parseRooms,
  parseSlotChange,
} from "../src/netplay/protocol.js";
import { emptyRoom, freeSlots, withSlot, withUsers } from "../src/netplay/room.js";

const ANN = { userid: "a", socketId: "sa", netplay_username: "Ann", player_slot: 0, is_host: true };
const BOB = { userid: "b", socket_id: "sb", netplay_username: "Bob", player_slot: 1 };
const EVE = { userid: "e", socketId: "se", netplay_username: "Eve", player_slot: 8, is_spectator: true };

test("members are players by slot, then those who watch", () => {
  const members = parseMembers({ e: EVE, b: BOB, a: ANN });
  assert.deepEqual(
    members.map(({ id, slot, isHost }) => [id, slot, isHost]),
    [
      ["a", 0, true],
      ["b", 1, false],
      ["e", SPECTATOR_SLOT, false],
    ],
  );
});

test("odd rows become something harmless", () => {
  const members = parseMembers({
    a: { player_slot: 99, is_host: "yes" },
    b: { player_slot: 1, is_spectator: true, player_name: "B" },
    c: null,
    d: 7,
    e: { slot: 2, name: "E", reconnecting: true },
  });
  assert.deepEqual(
    members.map(({ id, name, slot, isHost, reconnecting }) => [id, name, slot, isHost, reconnecting]),
    [
      ["e", "E", 2, false, true],
      ["a", "Player", 8, false, false],
      ["b", "B", 8, false, false],
    ],
  );
});

test("our own row is the one with our socket, also after a reconnect under a new one", () => {
  let room = withUsers(emptyRoom("R"), { a: ANN, b: BOB }, "sb");
  assert.equal(room.me?.name, "Bob");
  assert.equal(room.host?.name, "Ann");
  room = withUsers(room, { a: ANN, b: { ...BOB, socket_id: "new" } }, "new");
  assert.equal(room.me?.id, "b");
  assert.equal(withUsers(emptyRoom("R"), { a: ANN }, "").me, null);
});

test("a slot change moves the member it names and nobody else", () => {
  const room = withUsers(emptyRoom("R"), { a: ANN, b: BOB, e: EVE }, "sb");
  const other = withSlot(room, { playerId: "e", playerSlot: 2 });
  assert.equal(other.me?.slot, 1);
  assert.deepEqual(
    other.members.map(({ slot }) => slot),
    [0, 1, 2],
  );
  assert.equal(withSlot(room, { playerId: "b", playerSlot: 3 }).me?.slot, 3);
  assert.equal(withSlot(room, { playerId: "b", playerSlot: 1 }), room);
  assert.equal(withSlot(room, { playerId: "nobody", playerSlot: 1 }), room);
  for (const bad of [
    null,
    {},
    { playerId: "b" },
    { playerId: "b", playerSlot: "2" },
    { playerId: "b", playerSlot: 9 },
  ]) {
    assert.equal(withSlot(room, bad), room);
    assert.equal(parseSlotChange(bad), null);
  }
});

test("free slots are those nobody holds", () => {
  const room = withUsers(emptyRoom("R"), { a: ANN, b: BOB, e: EVE }, "sb");
  assert.deepEqual(freeSlots(room, 4), [2, 3]);
  assert.deepEqual(freeSlots(room, 2), []);
});

test("rooms without players or without a name are not listed", () => {
  const rooms = parseRooms([
    { id: "R", name: "R", current: 1, max: 2, hasPassword: true, netplay_mode: 1, rom_name: "Paddles" },
    { id: "empty", name: "empty", current: 0, max: 4 },
    { current: 3 },
    "R",
    null,
    { name: "old", current: 1, max: "many", rom_name: 3 },
  ]);
  assert.deepEqual(rooms, [
    { id: "R", name: "R", players: 1, maxPlayers: 2, hasPassword: true, mode: "delay_sync", game: "Paddles" },
    {
      id: "old",
      name: "old",
      players: 1,
      maxPlayers: 4,
      hasPassword: false,
      mode: "live_stream",
      game: null,
    },
  ]);
});

test("any JSON value is taken, and long lists are cut", () => {
  const values: unknown[] = [
    undefined,
    null,
    0,
    "",
    "x",
    true,
    [],
    {},
    [[]],
    [null],
    { a: [] },
    [{ id: {} }],
    { id: 3 },
  ];
  for (const value of values) {
    for (const parse of [parseRooms, parseMembers]) assert.ok(Array.isArray(parse(value)));
    for (const parse of [parseProducer, parseDataProducer, parseSlotChange, parseId, parseNoticeId])
      parse(value);
    assert.ok(Array.isArray(parseList(value, parseProducer)));
  }
  const many = Array.from({ length: MAX_LIST + 50 }, (_, index) => ({ id: `r${index}`, current: 1 }));
  assert.equal(parseRooms(many).length, MAX_LIST);
  assert.equal(parseList(many, parseProducer).length, MAX_LIST);
  assert.equal(parseMembers(Object.fromEntries(many.map((row) => [row.id, row]))).length, MAX_LIST);
});

test("producers come with or without kind and label, ids bare or wrapped", () => {
  assert.deepEqual(parseProducer({ id: "p", kind: "video" }), { id: "p", kind: "video" });
  assert.deepEqual(parseProducer({ id: "p", kind: "data" }), { id: "p" });
  assert.deepEqual(parseDataProducer({ dataProducerId: "d" }), { id: "d" });
  assert.deepEqual(parseDataProducer({ id: "d", label: "x" }), { id: "d", label: "x" });
  assert.equal(parseId("p"), "p");
  assert.equal(parseId({ id: "p" }), "p");
  assert.equal(parseId(""), null);
});

test("a redirect leads to web servers only, and never from https to http", () => {
  const to = (redirect: unknown, home = "http://a"): string | null => parseRedirect({ redirect }, home);
  assert.equal(to("http://b:3001"), "http://b:3001");
  assert.equal(to("https://b"), "https://b");
  assert.equal(to("https://b", "https://a"), "https://b");
  assert.equal(to("http://b", "https://a"), null);
  for (const nonsense of ["", "b", "javascript:alert(1)", "ftp://b", 5, null, {}])
    assert.equal(to(nonsense), null);
  assert.equal(parseRedirect(null, "http://a"), null);
});
