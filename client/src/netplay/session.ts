/**
 * One user's netplay: the room list, the room, media and inputs, kept alive across lost links.
 *
 *     offline ── connect() ─> lobby ── open() / join() ─> entering ─> room ── leave() ─> lobby
 *                                                                      │ ^
 *                                                             link lost v │ rejoined, media rebuilt
 *                                                                    rejoining ── refused for good ─> lobby
 *
 * The server keeps the seat of a member whose link is lost for a minute, and its media runs on meanwhile. On a new
 * link the session joins again, with a fresh token, and builds its media anew, because the old transports belong to
 * the old link.
 */

import type { types } from "mediasoup-client";

import { type Clock, type Timer, pause, systemClock } from "./clock.js";
import { Emitter } from "./emitter.js";
import type { MediaPlan } from "./graph.js";
import { MediaSession } from "./media.js";
import type {
  JoinOptions,
  LeaveReason,
  OpenOptions,
  SessionEvents,
  SessionOptions,
  SessionState,
} from "./options.js";
import { InputPipeline } from "./pipeline.js";
import {
  INPUT_LABEL,
  type MemberExtra,
  type RoomSummary,
  RUN_LABEL,
  SPECTATOR_SLOT,
  STATE_LABEL,
  type ServerEvent,
  parseDataProducer,
  REASON_STOPPING,
  REASON_TAKEN_OVER,
  parseNoticeId,
  parseProducer,
  parseReason,
  parseRedirect,
  parseRooms,
} from "./protocol.js";
import { RUN_PROTOCOL } from "./runs.js";
import { type RoomView, emptyRoom, withSlot, withUsers } from "./room.js";
import { type LinkState, RequestError, Signaling } from "./signaling.js";
import { type LiveStats, StatsSampler } from "./stats.js";

/** How often a refused rejoin is tried again, and the wait between, in milliseconds. */
export const REJOIN_ATTEMPTS = 10;
export const REJOIN_DELAY = 1_000;
/** How long a server that we were sent to may be out of reach before we ask for the room at home, in milliseconds. */
export const AWAY_PATIENCE = 5_000;
/** How long leaving waits for the server's word, in milliseconds. */
export const LEAVE_TIMEOUT = 2_000;
/** How long the server may take to answer after the network changed; then the link is dead, in milliseconds. */
export const LINK_TIMEOUT = 2_000;

interface Membership {
  readonly role: "host" | "guest";
  readonly enter: () => Promise<void>;
  readonly open?: OpenOptions;
}

export class NetplaySession extends Emitter<SessionEvents> {
  readonly #options: SessionOptions;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #signaling: Signaling;
  #device: Promise<types.Device> | null = null;
  #state: SessionState = "offline";
  #rooms: readonly RoomSummary[] = [];
  #room: RoomView | null = null;
  #membership: Membership | null = null;
  #hostId: string | null = null;
  #media: MediaSession | null = null;
  #sampler: StatsSampler | null = null;
  #inputs: InputPipeline | null = null;
  #stats: LiveStats | null = null;
  #moving = false;
  #patience: Timer = null;

  constructor(options: SessionOptions) {
    super();
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? (() => crypto.getRandomValues(new Uint32Array(1))[0] ?? 0);
    this.#signaling = new Signaling({ ...options, clock: this.#clock });
    this.#signaling.on("state", (state) => this.#linkChanged(state));
    this.#signaling.on("connected", ({ first }) => this.#linkUp(first));
    this.#signaling.on("message", ({ event, payload }) => this.#handlers[event]?.(payload));
  }

  get state(): SessionState {
    return this.#state;
  }

  get link(): LinkState {
    return this.#signaling.state;
  }

  /** The rooms of the server, as last announced. */
  get rooms(): readonly RoomSummary[] {
    return this.#rooms;
  }

  /** The room we are in, or null. */
  get room(): RoomView | null {
    return this.#room;
  }

  get role(): "host" | "player" | "spectator" | null {
    if (this.#membership === null) return null;
    if (this.#membership.role === "host") return "host";
    return this.slot === SPECTATOR_SLOT ? "spectator" : "player";
  }

  /** Our slot, {@link SPECTATOR_SLOT} while watching or not in a room. */
  get slot(): number {
    return this.#room?.me?.slot ?? SPECTATOR_SLOT;
  }

  get stats(): LiveStats | null {
    return this.#stats;
  }

  /** The media session of the room we are in, for statistics and tests. */
  get media(): MediaSession | null {
    return this.#media;
  }

  /** Connect and fetch the room list. @throws RequestError */
  async connect(): Promise<void> {
    await this.#signaling.connect();
  }

  /** Open a room and host it: the given tracks are what the others get. @throws RequestError */
  async open(options: OpenOptions): Promise<void> {
    const extra: MemberExtra = {
      room_name: options.name,
      player_slot: 0,
      netplay_mode: 0,
      room_phase: "running",
      spectator_mode: 1,
      input_mode: "unorderedRelay",
      ...(options.game === undefined ? {} : { rom_name: options.game }),
    };
    const password = options.password ?? null;
    const join = (): Promise<unknown> => this.#signaling.request("join-room", { extra, password });
    const open = (): Promise<unknown> =>
      this.#signaling.request("open-room", { extra, maxPlayers: options.maxPlayers ?? 4, password });
    await this.#enterRoom(options.name, {
      role: "host",
      open: options,
      enter: async () => {
        if (this.#state === "rejoining") {
          // The room is there as long as our seat is kept; a server that was restarted needs it opened again.
          try {
            this.#users(await join());
            return;
          } catch (error) {
            if (!(error instanceof RequestError) || error.details !== "no such room") throw error;
          }
        }
        await open();
        this.#users(await join());
      },
    });
  }

  /** Join a room as a player or to watch. @throws RequestError */
  async join(options: JoinOptions): Promise<void> {
    await this.#enterRoom(options.name, {
      role: "guest",
      enter: async () => {
        // On the way back we ask for the seat we had.
        const seat = this.#state === "rejoining" ? this.slot : (options.slot ?? 1);
        const spectator = this.#state === "rejoining" ? seat === SPECTATOR_SLOT : options.spectator === true;
        const extra: MemberExtra = {
          room_name: options.name,
          player_slot: spectator ? SPECTATOR_SLOT : seat,
          netplay_mode: 0,
          input_mode: "unorderedRelay",
          ...(spectator ? { is_spectator: true } : {}),
        };
        const join = (): Promise<unknown> =>
          this.#signaling.request("join-room", { extra, password: options.password ?? null });
        let answer = await join();
        const elsewhere = parseRedirect(answer, this.#options.url);
        if (elsewhere !== null) {
          await this.#moveTo(elsewhere);
          if (this.#signaling.url !== elsewhere) throw new RequestError("You left meanwhile.", "offline");
          answer = await join();
        }
        this.#users(answer);
      },
    });
  }

  /** Take another slot, or {@link SPECTATOR_SLOT} to watch. @throws RequestError */
  async changeSlot(slot: number): Promise<void> {
    if (this.#room === null) return;
    await this.#signaling.request("update-player-slot", { roomName: this.#room.name, playerSlot: slot });
  }

  /** At a host: tell the others that nothing moves for now, or moves again. */
  setPaused(paused: boolean): void {
    this.#signaling.notify(paused ? "netplay-host-paused" : "netplay-host-resumed", {});
  }

  /**
   * At a host: the inputs given by `input` events so far are in the frame just drawn. Called once a frame, it lets
   * the players measure their input delay.
   */
  inputsApplied(): void {
    this.#inputs?.confirm();
  }

  /** Press, release or move one of our inputs. Sent if we are a player. */
  setInput(index: number, value: number): void {
    this.#inputs?.set(index, value);
  }

  /** Let go of all our inputs. */
  releaseInputs(): void {
    this.#inputs?.release();
  }

  /**
   * The browser says that its network changed (`online`, or `change` of `navigator.connection`): do not wait until
   * that is noticed. ICE is restarted, and a link that does not answer is made anew.
   */
  networkChanged(): void {
    this.#media?.networkChanged();
    this.#signaling.request("sfu-get-router-rtp-capabilities", {}, LINK_TIMEOUT).catch((error: unknown) => {
      if (error instanceof RequestError && error.code === "timeout") this.#signaling.reconnect();
    });
  }

  /** Leave the room. Never fails: what the server does not hear it finds out. */
  async leave(): Promise<void> {
    const room = this.#room;
    if (room === null) return;
    this.#inputs?.release();
    const told = this.#signaling
      .request("leave-room", { roomName: room.name }, LEAVE_TIMEOUT)
      .catch(() => undefined);
    this.#out("left", "");
    await told;
  }

  /** Leave and hang up for good. */
  async close(): Promise<void> {
    await this.leave();
    this.#signaling.close();
    this.#enter("closed");
    this.clear();
  }

  // -- the room ------------------------------------------------------------------------------------------------

  async #enterRoom(name: string, membership: Membership): Promise<void> {
    if (this.#state !== "lobby") {
      throw new RequestError(
        this.#room === null ? "There is no connection yet." : "Leave this room first.",
        "offline",
      );
    }
    this.#enter("entering");
    this.#room = emptyRoom(name);
    this.#membership = membership;
    try {
      await this.#loadDevice(); // before we take a seat: a browser that cannot play needs none
      await membership.enter();
      this.#startMedia(await this.#loadDevice());
    } catch (error) {
      if ((this.#room?.me ?? null) !== null) this.#signaling.notify("leave-room", {});
      this.#forget();
      this.#goHome();
      throw error;
    }
    this.#enter("room");
    if (this.#room !== null && this.#hostIsGone(this.#room)) this.#hostLeft(this.#room);
  }

  async #rejoin(): Promise<void> {
    const membership = this.#membership;
    this.#enter("rejoining");
    let problem = "";
    for (let attempt = 0; attempt < REJOIN_ATTEMPTS; attempt += 1) {
      if (attempt > 0) await pause(this.#clock, REJOIN_DELAY);
      // Somebody left, or the link went again: then another rejoin takes over.
      if (this.#state !== "rejoining" || this.#membership !== membership) return;
      if (!this.#signaling.connected) {
        this.#watchAway();
        return;
      }
      try {
        await membership?.enter();
        this.#enter("room");
        if (this.#room !== null && this.#hostIsGone(this.#room)) this.#hostLeft(this.#room);
        else if (this.#device !== null) await this.#media?.rebuild();
        else {
          const device = await this.#loadDevice();
          this.#stopMedia();
          this.#startMedia(device);
        }
        return;
      } catch (error) {
        problem = error instanceof Error ? error.message : String(error);
        this.emit("trouble", error instanceof Error ? error : new Error(problem));
      }
    }
    if (this.#membership === membership) this.#out("room-lost", problem);
  }

  #startMedia(device: types.Device): void {
    const media = new MediaSession(this.#signaling, device, this.#plan(), this.#clock);
    this.#media = media;
    const inputs = new InputPipeline({
      hosts: this.role === "host",
      send: (message) => media.sendData(message),
      sendRun: (message) => media.sendData(message, RUN_LABEL),
      clock: this.#clock,
      random: this.#random,
    });
    this.#inputs = inputs;
    inputs.sit(this.slot);
    inputs.on("input", (input) => this.emit("input", input));
    inputs.on("playerDelay", (delay) => this.emit("playerDelay", delay));
    media.on("state", (state) => this.emit("media", state));
    media.on("trouble", (error) => this.emit("trouble", error));
    media.on("track", ({ kind, track }) => this.emit("track", { kind, track }));
    media.on("ended", ({ kind }) => this.emit("trackEnded", { kind }));
    media.on("open", ({ label }) => (label === RUN_LABEL ? inputs.runsOpened() : inputs.opened()));
    media.on("dataOpened", ({ protocol }) => inputs.hostChannel(protocol === RUN_PROTOCOL));
    media.on("data", ({ channel, data }) => inputs.receive(channel, data));
    media.on("dataClosed", ({ channel }) => inputs.channelClosed(channel));
    this.#sampler = new StatsSampler(
      media,
      this.#clock,
      () => inputs.delay,
      (stats) => {
        this.#stats = stats;
        this.emit("stats", stats);
      },
    );
    void media.rebuild();
  }

  #plan(): MediaPlan {
    const open = this.#membership?.open;
    if (open !== undefined) {
      return {
        video: open.video,
        ...(open.audio === undefined ? {} : { audio: open.audio }),
        ...(open.videoOptions === undefined ? {} : { videoOptions: open.videoOptions }),
        sendData: STATE_LABEL,
        sendProtocol: RUN_PROTOCOL,
        receiveMedia: false,
        receiveData: [INPUT_LABEL, RUN_LABEL],
      };
    }
    // Those who watch send no inputs, so the host has nothing to answer them.
    if (this.slot === SPECTATOR_SLOT) return { receiveMedia: true, receiveData: [] };
    return {
      sendData: INPUT_LABEL,
      sendRuns: { label: RUN_LABEL, protocol: RUN_PROTOCOL },
      receiveMedia: true,
      receiveData: [STATE_LABEL],
    };
  }

  /** Take in the member list that an acknowledgement of `join-room` carries. */
  #users(answer: unknown): void {
    const users = (answer as { users?: unknown } | null)?.users;
    if (users === undefined)
      throw new RequestError("The server does not let us into this room.", "refused", answer);
    this.#fold((room) => withUsers(room, users, this.#signaling.socketId));
  }

  #fold(change: (room: RoomView) => RoomView): void {
    const before = this.#room;
    if (before === null) return;
    const after = change(before);
    if (after === before) return;
    this.#room = after;
    this.emit("room", after);
    const guest = this.#membership?.role === "guest";
    if (this.#hostIsGone(after)) {
      this.#hostLeft(after);
      return;
    }
    if (before.me === null || after.me === null || before.me.slot === after.me.slot) return;
    this.#inputs?.sit(after.me.slot);
    // Those who watch have no channel to send on: coming and going between them and the players changes the plan.
    const watched = before.me.slot === SPECTATOR_SLOT;
    const watches = after.me.slot === SPECTATOR_SLOT;
    if (guest && watched !== watches) void this.#media?.rebuild(this.#plan());
  }

  /** Whether somebody else is host than when we came. Decided only while our view of the room is current. */
  #hostIsGone(room: RoomView): boolean {
    if (this.#state !== "room" || this.#membership?.role !== "guest") return false;
    this.#hostId ??= room.host?.id ?? null;
    if (this.#hostId === null || room.members.length === 0) return false;
    if (room.host !== null) return room.host.id !== this.#hostId;
    return !room.members.some((member) => member.id === this.#hostId);
  }

  /** The game ran at the host; whoever the server made owner of what is left has nothing to show. */
  #hostLeft(room: RoomView): void {
    this.#signaling.request("leave-room", { roomName: room.name }, LEAVE_TIMEOUT).catch(() => undefined);
    this.#out("host-left", "The host has left.");
  }

  #out(reason: LeaveReason, message: string): void {
    this.#forget();
    this.#goHome();
    this.emit("left", { reason, message });
  }

  /** Out of the room, and back to our own server if the room was on another one. */
  #goHome(): void {
    const { state, url } = this.#signaling;
    const away = url !== this.#options.url && (state === "connected" || state === "connecting");
    this.#enter(state === "connected" && !away ? "lobby" : "offline");
    if (!away) return;
    this.#moveTo(this.#options.url).catch((error: unknown) => {
      this.emit("trouble", error instanceof Error ? error : new Error(String(error)));
    });
  }

  /** A server that we were sent to may be gone for good, and the room elsewhere: ask at home before long. */
  #watchAway(): void {
    this.#clock.clearTimeout(this.#patience);
    if (this.#state !== "rejoining" || this.#signaling.url === this.#options.url) return;
    this.#patience = this.#clock.setTimeout(() => {
      if (this.#state !== "rejoining" || this.#signaling.connected) return;
      this.#moveTo(this.#options.url).then(
        () => this.#rejoin(),
        (error: unknown) => this.emit("trouble", error instanceof Error ? error : new Error(String(error))),
      );
    }, AWAY_PATIENCE);
  }

  /** Go on at another server of the group, which may know other codecs. @throws RequestError */
  async #moveTo(url: string): Promise<void> {
    this.#device = null;
    this.#moving = true;
    try {
      await this.#signaling.moveTo(url);
    } finally {
      this.#moving = false;
    }
    if (this.#membership === null) this.#enter("lobby");
  }

  #stopMedia(): void {
    this.#sampler?.stop();
    this.#sampler = null;
    this.#media?.close();
    this.#media = null;
    this.#inputs?.close();
    this.#inputs = null;
  }

  #forget(): void {
    this.#clock.clearTimeout(this.#patience);
    this.#stopMedia();
    this.#hostId = null;
    this.#stats = null;
    this.#membership = null;
    this.#room = null;
  }

  // -- the link ------------------------------------------------------------------------------------------------

  #linkUp(first: boolean): void {
    this.#signaling.notify("request-room-list", {});
    if (this.#moving) return; // whoever moves us goes on from here
    if (first || this.#membership === null) this.#enter("lobby");
    else if (this.#state === "room" || this.#state === "rejoining") void this.#rejoin();
  }

  #linkChanged(state: LinkState): void {
    this.emit("link", state);
    if (state === "connected" || state === "closed") return;
    if (state === "replaced" || state === "refused") {
      const words =
        state === "replaced"
          ? "You continued somewhere else, so this window was disconnected."
          : "The server no longer accepts you. Choose your name again.";
      if (this.#membership !== null) this.#out(state, words);
      this.#enter("offline");
    } else if (this.#state === "room") {
      this.#enter("rejoining");
      this.#watchAway();
    } else if (this.#state === "lobby") {
      this.#enter("offline");
    }
  }

  readonly #handlers: Partial<Record<ServerEvent, (payload: unknown) => void>> = {
    "rooms-updated": (payload) => {
      this.#rooms = parseRooms(payload);
      this.emit("rooms", this.#rooms);
    },
    "users-updated": (payload) => this.#fold((room) => withUsers(room, payload, this.#signaling.socketId)),
    "player-slot-updated": (payload) => this.#fold((room) => withSlot(room, payload)),
    "new-producer": (payload) => {
      const producer = parseProducer(payload);
      if (producer !== null) this.#media?.announced(producer);
    },
    "new-data-producer": (payload) => {
      const producer = parseDataProducer(payload);
      if (producer !== null) this.#media?.announcedData(producer);
    },
    "producer-closed": (payload) => this.#media?.producerClosed(parseNoticeId(payload) ?? ""),
    "data-producer-closed": (payload) => this.#media?.producerClosed(parseNoticeId(payload) ?? ""),
    "transports-lost": () => {
      if (this.#state === "room") void this.#media?.rebuild();
    },
    "room-closed": (payload) => {
      const reason = parseReason(payload);
      if (reason === REASON_TAKEN_OVER) this.#signaling.giveWay();
      else if (reason !== REASON_STOPPING && this.#room !== null)
        this.#out("room-lost", "The room was closed.");
    },
    "netplay-host-paused": () => this.emit("paused", true),
    "netplay-host-resumed": () => this.emit("paused", false),
  };

  async #loadDevice(): Promise<types.Device> {
    this.#device ??= (async () => {
      const device = new this.#options.Device();
      const routerRtpCapabilities = await this.#signaling.request("sfu-get-router-rtp-capabilities", {});
      await device.load({ routerRtpCapabilities });
      return device;
    })();
    try {
      return await this.#device;
    } catch (error) {
      this.#device = null;
      throw error;
    }
  }

  #enter(state: SessionState): void {
    if (this.#state === state) return;
    this.#state = state;
    this.emit("state", state);
  }
}
