/** Everything around the picture: who is here, the seat, the live numbers, the volume. */

import { type LiveStats, type Member, type RoomView, SPECTATOR_SLOT, isPlayer } from "../netplay/index.js";
import { byId, make, say, setting } from "./dom.js";

export type Role = "host" | "player" | "spectator";

export interface StageActions {
  leave(): void;
  seat(slot: number): void;
  volume(volume: number): void;
}

const ROLES: Readonly<Record<Role, string>> = { host: "Host", player: "Player", spectator: "Watching" };
/** Words in square brackets are keys. */
const KEYS: Readonly<Record<Role, string>> = {
  host: "You move the left paddle: [W] [S] or [↑] [↓]. Keep this tab in front: while it is hidden, the game rests.",
  player: "You move the right paddle when it is your turn: [W] [S] or [↑] [↓].",
  spectator: "You are watching. Take a free seat above to play.",
};
const DEFAULT_VOLUME = 70;

export class Stage {
  readonly #actions: StageActions;
  readonly #people = byId("people", HTMLUListElement);
  readonly #seat = byId("seat", HTMLSelectElement);
  readonly #seatField = byId("seat-field", HTMLElement);
  readonly #veil = byId("veil", HTMLElement);
  readonly #volume = byId("volume", HTMLInputElement);
  readonly #delays = new Map<number, number>();
  #room: RoomView | null = null;

  constructor(actions: StageActions) {
    this.#actions = actions;
    byId("leave", HTMLButtonElement).addEventListener("click", () => actions.leave());
    this.#seat.addEventListener("change", () => actions.seat(Number(this.#seat.value)));
    this.#volume.value = setting.read("volume") ?? String(DEFAULT_VOLUME);
    this.#volume.addEventListener("input", () => this.#volumeChanged());
  }

  /** 0 to 1, as the ear hears it. */
  get volume(): number {
    return (Number(this.#volume.value) / 100) ** 2;
  }

  /** Set up for a room just entered. */
  open(role: Role): void {
    this.#delays.clear();
    byId("canvas", HTMLCanvasElement).hidden = role !== "host";
    byId("video", HTMLVideoElement).hidden = role === "host";
    say(byId("n-delay-name", HTMLElement), role === "host" ? "Players’ delay" : "Input delay");
    this.numbers(null);
    this.veil("");
    this.#volumeChanged();
  }

  /** Text over the picture; none takes it away. */
  veil(text: string): void {
    say(this.#veil, text);
    this.#veil.hidden = text === "";
  }

  status(text: string): void {
    say(byId("stage-status", HTMLElement), text);
  }

  render(room: RoomView, role: Role, seats: number): void {
    this.#room = room;
    say(byId("stage-title", HTMLElement), room.name);
    const badge = byId("role", HTMLElement);
    badge.dataset["role"] = role;
    say(badge, role === "player" ? `Player ${(room.me?.slot ?? 0) + 1}` : ROLES[role]);
    byId("keys", HTMLElement).replaceChildren(...withKeys(KEYS[role]));
    byId("pad", HTMLElement).hidden = role === "spectator";
    this.#roster(room);
    this.#seats(room, role, seats);
  }

  /** At the host: what a player measured. */
  playerDelay(slot: number, milliseconds: number): void {
    this.#delays.set(slot, milliseconds);
    if (this.#room !== null) this.#roster(this.#room);
  }

  numbers(stats: LiveStats | null): void {
    const host = byId("canvas", HTMLCanvasElement).hidden === false;
    const delay = host ? average([...this.#delays.values()]) : (stats?.inputDelay ?? null);
    show("n-fps", stats === null ? null : Math.round(stats.fps));
    show("n-bitrate", stats === null ? null : (stats.bitrate / 1e6).toFixed(2));
    show("n-rtt", rounded(stats?.roundTrip ?? null));
    show("n-delay", rounded(delay));
    show("n-loss", stats === null ? null : stats.loss.toFixed(1));
    show("n-freezes", stats === null ? null : stats.freezes);
    byId("n-freezes-tile", HTMLElement).hidden = host; // nothing is played there
    const more: string[] = [];
    if (stats !== null && stats.width > 0) more.push(`${stats.width} × ${stats.height}`);
    if (stats?.codec) more.push(stats.codec);
    if (stats?.protocol) more.push(stats.protocol.toUpperCase());
    if (stats !== null && stats.buffered !== null) more.push(`buffered ${Math.round(stats.buffered)} ms`);
    say(byId("n-more", HTMLElement), more.join(" · "));
  }

  #roster(room: RoomView): void {
    const challenger = room.members.find((member) => isPlayer(member) && !member.isHost);
    this.#people.replaceChildren(
      ...room.members.map((member) => {
        const name = make("span", "person-name", member.name + (member.id === room.me?.id ? " (you)" : ""));
        const row = make("li", "person", name, make("span", "person-note", this.#note(member, challenger)));
        if (member.isHost) row.dataset["paddle"] = "left";
        else if (member === challenger) row.dataset["paddle"] = "right";
        return row;
      }),
    );
  }

  #note(member: Member, challenger: Member | undefined): string {
    if (member.reconnecting) return "reconnecting…";
    if (member.isHost) return "host";
    if (!isPlayer(member)) return "watching";
    if (member !== challenger) return `seat ${member.slot + 1}, next`;
    const delay = this.#delays.get(member.slot);
    return delay === undefined
      ? `seat ${member.slot + 1}`
      : `seat ${member.slot + 1} · ${Math.round(delay)} ms`;
  }

  #seats(room: RoomView, role: Role, seats: number): void {
    this.#seatField.hidden = role === "host" || room.me === null;
    const mine = room.me?.slot ?? SPECTATOR_SLOT;
    const taken = new Set(room.members.map((member) => member.slot));
    const options: HTMLOptionElement[] = [];
    for (let slot = 1; slot < seats; slot += 1) {
      if (slot !== mine && taken.has(slot)) continue;
      options.push(new Option(`Player ${slot + 1}`, String(slot), false, slot === mine));
    }
    options.push(new Option("Watch only", String(SPECTATOR_SLOT), false, mine === SPECTATOR_SLOT));
    this.#seat.replaceChildren(...options);
  }

  #volumeChanged(): void {
    setting.write("volume", this.#volume.value);
    say(byId("volume-text", HTMLOutputElement), `${this.#volume.value} %`);
    this.#actions.volume(this.volume);
  }
}

function withKeys(text: string): (Node | string)[] {
  return text.split(/[[\]]/).map((part, index) => (index % 2 === 1 ? make("kbd", "", part) : part));
}

function show(id: string, value: string | number | null): void {
  say(byId(id, HTMLOutputElement), value === null ? "–" : String(value));
}

function rounded(value: number | null): string | null {
  if (value === null) return null;
  return value < 10 ? value.toFixed(1) : String(Math.round(value));
}

function average(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
}
