/** The room list and the form that opens a room. */

import type { RoomSummary } from "../netplay/index.js";
import { button, byId, make, say, setting } from "./dom.js";

export interface RoomForm {
  readonly name: string;
  readonly seats: number;
  readonly password: string;
  readonly simulcast: boolean;
}

export interface LobbyActions {
  join(room: RoomSummary, spectator: boolean): void;
  open(room: RoomForm): void;
}

export class Lobby {
  readonly #actions: LobbyActions;
  readonly #list = byId("room-list", HTMLUListElement);
  readonly #none = byId("no-rooms", HTMLElement);
  readonly #count = byId("room-count", HTMLElement);
  readonly #name = byId("room-name", HTMLInputElement);
  readonly #error = byId("room-error", HTMLElement);
  readonly #submit = byId("open-submit", HTMLButtonElement);

  constructor(actions: LobbyActions) {
    this.#actions = actions;
    byId("password-cancel", HTMLButtonElement).addEventListener("click", () => {
      byId("password-dialog", HTMLDialogElement).close("cancel");
    });
    byId("open-form", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      this.#open();
    });
    this.#name.addEventListener("input", () => this.complain(""));
  }

  /** Suggest a room name to somebody who has not typed one. */
  suggest(userName: string): void {
    if (this.#name.value === "") this.#name.value = setting.read("room") ?? `${userName}’s room`;
  }

  /** Show what is wrong with the form; nothing if the text is empty. */
  complain(text: string): void {
    say(this.#error, text);
    if (text === "") {
      this.#name.removeAttribute("aria-invalid");
    } else {
      this.#name.setAttribute("aria-invalid", "true");
      this.#name.focus();
    }
  }

  set busy(busy: boolean) {
    this.#submit.disabled = busy;
    for (const each of this.#list.querySelectorAll("button")) each.disabled = busy;
  }

  /** Show the rooms. The button that has the focus keeps it, though the list is made anew. */
  render(rooms: readonly RoomSummary[]): void {
    const focused =
      document.activeElement instanceof HTMLElement ? document.activeElement.dataset["key"] : undefined;
    this.#list.replaceChildren(...rooms.map((room) => this.#row(room)));
    this.#none.hidden = rooms.length > 0;
    say(this.#count, rooms.length === 0 ? "" : rooms.length === 1 ? "1 open" : `${rooms.length} open`);
    if (focused === undefined) return;
    for (const each of this.#list.querySelectorAll("button"))
      if (each.dataset["key"] === focused) each.focus();
  }

  #row(room: RoomSummary): HTMLLIElement {
    const full = room.players >= room.maxPlayers;
    const facts = make("p", "room-facts", make("span", "", `${room.players}/${room.maxPlayers} players`));
    if (room.game !== null) facts.append(make("span", "", room.game));
    if (room.hasPassword) facts.append(make("span", "", "🔒 password"));
    if (full) facts.append(make("span", "", "full"));
    const join = button("Join", `Join ${room.name}`, "primary", () => this.#actions.join(room, false));
    const watch = button("Watch", `Watch ${room.name}`, "", () => this.#actions.join(room, true));
    join.hidden = full;
    join.dataset["key"] = `join ${room.id}`;
    watch.dataset["key"] = `watch ${room.id}`;
    const row = make(
      "li",
      full ? "room full" : "room",
      make("p", "room-title", room.name),
      facts,
      make("div", "room-actions", join, watch),
    );
    row.dataset["room"] = room.id;
    return row;
  }

  #open(): void {
    const name = this.#name.value.trim();
    if (name === "") {
      this.complain("Give the room a name, so that others find it.");
      return;
    }
    this.complain("");
    setting.write("room", name);
    this.#actions.open({
      name,
      seats: Number(byId("room-seats", HTMLSelectElement).value),
      password: byId("room-password", HTMLInputElement).value,
      simulcast: byId("room-simulcast", HTMLInputElement).checked,
    });
  }
}

/** Ask for a room's password; null if the user thought better of it. */
export function askPassword(): Promise<string | null> {
  const dialog = byId("password-dialog", HTMLDialogElement);
  const input = byId("password", HTMLInputElement);
  input.value = "";
  dialog.returnValue = "cancel";
  dialog.showModal();
  input.focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "ok" ? input.value : null), {
      once: true,
    });
  });
}
