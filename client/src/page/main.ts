/** The page: three views over one netplay session. */

import { Device } from "mediasoup-client";
import { io } from "socket.io-client";

import { BUTTONS, type LinkState, NetplaySession, RequestError, type RoomSummary } from "../netplay/index.js";
import { Controls } from "./controls.js";
import { byId, say, setting } from "./dom.js";
import { Guest } from "./guest.js";
import { HostGame } from "./host.js";
import { Lobby, type RoomForm, askPassword } from "./lobby.js";
import { explain, notify } from "./notices.js";
import { type Role, Stage } from "./stage.js";
import { Viewer } from "./viewer.js";

const GAME = "Paddles";
const VIDEO = { codec: "vp9", maxBitrate: 3_000_000, maxFramerate: 60 } as const;
/** How many samples without a new frame make a picture that stands still. */
const STILL_SAMPLES = 2;
const STILL = "The picture stands still: the host has probably hidden the tab with the game.";
const VIEWS = ["welcome", "lobby", "stage"] as const;
type View = (typeof VIEWS)[number];

const LINK_WORDS: Readonly<Record<LinkState, string>> = {
  idle: "Offline",
  connecting: "Connecting…",
  connected: "Connected",
  refused: "Refused",
  replaced: "Disconnected",
  closed: "Offline",
};

class Page {
  readonly #guest = new Guest();
  readonly #lobby = new Lobby({
    join: (room, spectator) => void this.#join(room, spectator),
    open: (room) => void this.#open(room),
  });
  readonly #stage = new Stage({
    leave: () => void this.session?.leave(),
    seat: (slot) => void this.#seat(slot),
    volume: (volume) => this.#setVolume(volume),
  });
  readonly #viewer = new Viewer(
    byId("video", HTMLVideoElement),
    byId("audio", HTMLAudioElement),
    byId("listen", HTMLButtonElement),
    (there) => this.#picture(there),
  );
  readonly #controls = new Controls(
    byId("pad", HTMLElement),
    () => (this.session?.room ?? null) !== null && this.session?.role !== "spectator",
    (press, down) => this.#press(press, down),
  );
  #seats = 4;
  #paused = false;
  #members = 0;
  #hasPicture = false;
  #stillFor = 0;
  #connectionType = (navigator as { connection?: { type?: string } }).connection?.type;
  game: HostGame | null = null;
  session: NetplaySession | null = null;

  constructor() {
    byId("name-form", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#introduce(byId("name", HTMLInputElement).value.trim());
    });
    byId("rename", HTMLButtonElement).addEventListener("click", () => void this.#rename());
    document.addEventListener("visibilitychange", () => this.#visibility());
    window.addEventListener("online", () => this.session?.networkChanged());
    // From Wi-Fi to a phone's network, say. Not every browser tells.
    (navigator as { connection?: EventTarget }).connection?.addEventListener("change", () =>
      this.#connectionChanged(),
    );
    window.addEventListener("pagehide", () => void this.session?.close());
    const name = setting.read("name");
    byId("name", HTMLInputElement).value = name ?? "";
    if (name === null) this.#show("welcome");
    else void this.#introduce(name);
  }

  // -- who we are ------------------------------------------------------------------------------------------------

  async #introduce(name: string): Promise<void> {
    const submit = byId("name-submit", HTMLButtonElement);
    if (name === "") {
      this.#nameError("Type a name first.");
      return;
    }
    submit.disabled = true;
    this.#nameError("");
    try {
      await this.#guest.introduce(name);
      await this.#connect();
      setting.write("name", name);
      byId("account", HTMLElement).hidden = false;
      say(byId("who", HTMLElement), this.#guest.name);
      if (this.#guest.name !== name)
        notify(`Somebody is called ${name} already: you are ${this.#guest.name}.`);
      this.#lobby.suggest(this.#guest.name);
      this.#show("lobby");
    } catch (error) {
      this.#show("welcome");
      this.#nameError(explain(error));
    } finally {
      submit.disabled = false;
    }
  }

  async #rename(): Promise<void> {
    await this.session?.close();
    this.session = null;
    byId("account", HTMLElement).hidden = true;
    this.#show("welcome");
    byId("name", HTMLInputElement).select();
  }

  async #connect(): Promise<void> {
    await this.session?.close();
    const session = new NetplaySession({
      url: location.origin,
      io,
      Device,
      token: (renew) => this.#guest.token(renew),
    });
    this.session = session;
    session.on("link", (state) => this.#link(state));
    session.on("rooms", (rooms) => this.#lobby.render(rooms));
    session.on("room", () => this.#render());
    session.on("state", (state) => {
      if (state === "rejoining") this.#stage.status("The connection is lost: getting back…");
      else if (state === "room") this.#stage.status("");
    });
    session.on("media", (state) => {
      if (session.state === "room") this.#stage.status(state === "recovering" ? "Repairing the stream…" : "");
    });
    session.on("track", ({ kind, track }) => this.#viewer.show(kind, track));
    session.on("trackEnded", ({ kind }) => this.#viewer.ended(kind));
    session.on("input", (input) => this.game?.apply(input));
    session.on("playerDelay", ({ player, milliseconds }) => this.#stage.playerDelay(player, milliseconds));
    session.on("paused", (paused) => {
      this.#paused = paused;
      this.#veil();
    });
    session.on("stats", (stats) => {
      this.#stage.numbers(stats);
      this.#watchPicture(stats.fps);
    });
    session.on("left", ({ reason, message }) => void this.#left(reason === "left" ? "" : message));
    session.on("trouble", (error) => console.warn(error));
    this.#lobby.render([]);
    await session.connect();
  }

  #nameError(text: string): void {
    say(byId("name-error", HTMLElement), text);
    const input = byId("name", HTMLInputElement);
    if (text === "") input.removeAttribute("aria-invalid");
    else {
      input.setAttribute("aria-invalid", "true");
      input.focus();
    }
  }

  #link(state: LinkState): void {
    byId("link", HTMLElement).dataset["state"] = state;
    say(byId("link-text", HTMLElement), LINK_WORDS[state]);
    this.#lobby.busy = state !== "connected";
    if (state === "refused" || state === "replaced") {
      this.#show("welcome");
      this.#nameError(
        state === "replaced"
          ? "You continued in another window. Continue here?"
          : explain(new RequestError("unauthorized", "refused")),
      );
    }
  }

  // -- rooms -----------------------------------------------------------------------------------------------------

  async #open({ name, seats, password, simulcast }: RoomForm): Promise<void> {
    const session = this.session;
    if (session === null) return;
    this.#lobby.busy = true;
    const game = new HostGame(byId("canvas", HTMLCanvasElement), () => session.inputsApplied());
    this.game = game;
    this.#seats = seats;
    try {
      await game.sound.resume();
      await session.open({
        name,
        maxPlayers: seats,
        ...(password === "" ? {} : { password }),
        game: GAME,
        video: game.video,
        audio: game.sound.track,
        videoOptions: simulcast ? { ...VIDEO, simulcast: 2 } : VIDEO,
      });
      game.start();
      this.#enter("host");
    } catch (error) {
      await this.#endGame();
      this.#lobby.complain(explain(error));
    } finally {
      this.#lobby.busy = !(session.link === "connected");
    }
  }

  async #join(room: RoomSummary, spectator: boolean): Promise<void> {
    const session = this.session;
    if (session === null) return;
    const password = room.hasPassword ? await askPassword() : undefined;
    if (password === null) return;
    this.#lobby.busy = true;
    this.#seats = room.maxPlayers;
    this.#paused = false;
    this.#hasPicture = false;
    this.#stillFor = 0;
    try {
      await session.join({ name: room.id, spectator, ...(password === undefined ? {} : { password }) });
      this.#enter(spectator ? "spectator" : "player");
    } catch (error) {
      notify(explain(error), "bad");
    } finally {
      this.#lobby.busy = !(session.link === "connected");
    }
  }

  #enter(role: Role): void {
    this.#stage.open(role);
    this.#render();
    this.#veil();
    this.#show("stage");
  }

  async #left(message: string): Promise<void> {
    this.#controls.releaseAll();
    this.#viewer.stop();
    await this.#endGame();
    if (message !== "") notify(message, "bad");
    if (this.session?.link === "refused" || this.session?.link === "replaced") return;
    this.#show("lobby");
  }

  async #endGame(): Promise<void> {
    const game = this.game;
    this.game = null;
    await game?.close();
  }

  async #seat(slot: number): Promise<void> {
    try {
      await this.session?.changeSlot(slot);
    } catch (error) {
      notify(explain(error), "bad");
      this.#render();
    }
  }

  #render(): void {
    const room = this.session?.room;
    const role = this.session?.role;
    if (!room || !role) return;
    this.#stage.render(room, role, this.#seats);
    this.game?.seat(room.members);
    // Somebody who comes in while the game rests has missed the notice.
    if (role === "host" && document.hidden && room.members.length > this.#members) this.#visibility();
    this.#members = room.members.length;
  }

  // -- play ------------------------------------------------------------------------------------------------------

  #press(press: "up" | "down", down: boolean): void {
    if (this.game === null) this.session?.setInput(BUTTONS[press], down ? 1 : 0);
    else this.game.press(press, down);
  }

  #setVolume(volume: number): void {
    this.#viewer.volume = volume;
    if (this.game !== null) this.game.sound.volume = volume;
  }

  /** A hidden tab is not painted, so nothing would reach the others: the game rests, and they are told. */
  #visibility(): void {
    if (this.game === null) return;
    if (document.hidden) this.game.stop();
    else this.game.start();
    this.session?.setPaused(document.hidden);
  }

  /** A picture that stands still looks like a broken one: say which it is. */
  #watchPicture(fps: number): void {
    this.#stillFor = fps > 0 ? 0 : this.#stillFor + 1;
    this.#veil();
  }

  #picture(there: boolean): void {
    this.#hasPicture = there;
    this.#veil();
  }

  #veil(): void {
    if (this.game !== null) this.#stage.veil("");
    else if (this.#paused) this.#stage.veil("The host has paused the game.");
    else if (!this.#hasPicture) this.#stage.veil("Waiting for the picture…");
    else if (this.#stillFor >= STILL_SAMPLES) this.#stage.veil(STILL);
    else this.#stage.veil("");
  }

  #connectionChanged(): void {
    const { type } = (navigator as { connection?: { type?: string } }).connection ?? {};
    // It also "changes" when the browser has measured it anew, which is no reason to do anything.
    if (type === undefined || type === this.#connectionType) return;
    this.#connectionType = type;
    this.session?.networkChanged();
  }

  #show(view: View): void {
    const changed = byId(view, HTMLElement).hidden;
    for (const each of VIEWS) byId(each, HTMLElement).hidden = each !== view;
    const title = byId(`${view}-title`, HTMLElement);
    document.title = `${title.textContent} – trio-sfu`;
    if (changed) title.focus();
  }
}

declare global {
  interface Window {
    /** For tests and the curious: the running page. */
    trioSfu: { readonly session: NetplaySession | null; readonly game: HostGame | null };
  }
}

const page = new Page();
window.trioSfu = page;
