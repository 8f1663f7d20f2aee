/**
 * A client written for this test alone, straight on socket.io-client and mediasoup-client as published. It makes the
 * calls existing emulator pages make, in their order, and knows nothing of our own netplay module.
 */

import { Device } from "mediasoup-client";
import { io } from "socket.io-client";

import { message, numberOf } from "./messages.mjs";
import { HEIGHT, WIDTH, paint, read } from "./picture.mjs";

const FRAME_RATE = 30;
const TONE = 880;
const LABEL = "netplay-input";
const ACK_TIMEOUT = 10_000;
/** Bytes of an input, and how many a second, as emulator pages send them. */
const INPUT_LENGTH = 64;
const INPUT_RATE = 60;

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

class Bare {
  device = new Device();
  transports = {};
  producers = {};
  consumers = new Map();
  dataConsumers = new Map();
  dataProducer = null;
  received = { good: new Set(), bad: 0, duplicates: 0 };
  users = {};
  #pending = new Set();
  #asked = [];
  #options = {};
  #frame = 0;
  #inputTimes = null;
  #frameTimes = null;

  // -- signaling -------------------------------------------------------------------------------------------------

  /** With `via`, media goes to `via.udp` and `via.tcp` of this machine instead of the ports that the server offers. */
  async connect({ url, token, transports, tcpOnly = false, via = null }) {
    this.#options = { tcpOnly, via };
    this.socket = io(url, { auth: { token }, ...(transports ? { transports } : {}) });
    this.socket.on("users-updated", (users) => (this.users = users));
    await new Promise((resolve, reject) => {
      this.socket.once("connect", resolve);
      this.socket.once("connect_error", reject);
    });
    const { available } = await this.#raw("sfu-available", {});
    if (!available) throw new Error("the server has no media workers");
    await this.device.load({ routerRtpCapabilities: await this.call("sfu-get-router-rtp-capabilities", {}) });
  }

  /** A request whose acknowledgement is `(error, value)`. */
  async call(name, payload) {
    const [error, value] = await this.#acknowledged(name, payload);
    if (error) throw new Error(`${name}: ${JSON.stringify(error)}`);
    return value;
  }

  async #raw(name, payload) {
    return (await this.#acknowledged(name, payload))[0];
  }

  #acknowledged(name, payload) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${name}: no acknowledgement`)), ACK_TIMEOUT);
      this.socket.emit(name, payload, (...answer) => {
        clearTimeout(timer);
        resolve(answer);
      });
    });
  }

  // -- rooms -----------------------------------------------------------------------------------------------------

  #extra(room, slot) {
    return {
      domain: location.host,
      game_id: null,
      room_name: room,
      player_name: "Player",
      player_slot: slot,
      userid: crypto.randomUUID(),
      sessionid: null,
      input_mode: "unorderedRelay",
      netplay_mode: 0,
    };
  }

  /** `simulcast` sends two sizes: true, or the most bits a second of the full and of the half one. */
  async host(room, { simulcast = false, codec = undefined, maxBitrate = undefined } = {}) {
    this.#options.simulcast = simulcast;
    this.#options.codec = codec;
    this.#options.maxBitrate = maxBitrate;
    const extra = { ...this.#extra(room, 0), room_phase: "running", spectator_mode: 1, rom_name: "Clock" };
    await this.call("open-room", { extra, maxPlayers: 4, password: null });
    // Sent without waiting: nobody looks at what comes back for it.
    this.socket.emit("update-player-metadata", { roomName: room, metadata: { coreId: "test" } }, () => {});
    await this.call("join-room", { extra, password: null });
    this.#listen({ media: false });
    await this.startHosting();
  }

  /** The host's media: a transport each for picture, sound and data, and one to receive inputs on. */
  async startHosting() {
    this.transports.video = await this.#transport("send");
    this.transports.recv = await this.#transport("recv");
    this.producers.video = await this.transports.video.produce({
      track: this.#picture(),
      stopTracks: false,
      ...(this.#options.codec ? { codec: this.#codec(this.#options.codec) } : {}),
      ...(this.#options.maxBitrate ? { encodings: [{ maxBitrate: this.#options.maxBitrate }] } : {}),
      ...(this.#options.simulcast ? this.#twoSizes(this.#options.simulcast) : {}),
    });
    this.transports.audio = await this.#transport("send");
    this.producers.audio = await this.transports.audio.produce({
      track: this.#tone(),
      stopTracks: false,
      codecOptions: { opusStereo: true, opusFec: true, opusDtx: false, opusPtime: 20 },
    });
    await this.#sendData();
    for (const { id } of await this.call("sfu-get-data-producers", {})) await this.#consumeData(id);
  }

  async join(room, { spectator = false, consume = true, picture = true } = {}) {
    await this.call("join-room", { extra: this.#extra(room, 1), password: null });
    if (spectator) await this.call("update-player-slot", { roomName: room, playerSlot: 8 });
    this.room = room;
    if (consume) await this.startWatching({ spectator, picture });
  }

  /** A guest's media: everything there is, and a channel for inputs unless it only watches. */
  async startWatching({ spectator = false, picture = true } = {}) {
    this.transports.recv = await this.#transport("recv");
    this.#listen({ media: picture });
    const [producers, dataProducers] = await Promise.all([
      picture ? this.call("sfu-get-producers", {}) : [],
      this.call("sfu-get-data-producers", {}),
    ]);
    await Promise.all(producers.map(({ id, kind }) => this.#consume(id, kind)));
    for (const { id } of dataProducers) await this.#consumeData(id);
    if (!spectator) await this.#sendData();
  }

  /** The first half of watching: the server has made consumers, but the transport to them is not connected yet. */
  async askToWatch() {
    this.transports.recv = await this.#transport("recv");
    const producers = await this.call("sfu-get-producers", {});
    this.#asked = await Promise.all(producers.map(({ id }) => this.#askFor(id)));
  }

  /** The second half: connect, and play what was asked for. */
  async watchWhatWasAsked() {
    for (const info of this.#asked) await this.#takeConsumer(info);
  }

  async leave(room) {
    await this.call("leave-room", { roomName: room });
    this.socket.disconnect();
  }

  #listening = false;
  #listen({ media }) {
    if (this.#listening) return;
    this.#listening = true;
    if (media) this.socket.on("new-producer", ({ id, kind }) => this.#track(this.#consume(id, kind)));
    this.socket.on("new-data-producer", ({ id }) => this.#track(this.#consumeData(id)));
  }

  /** Work started by an event: its failure is the page's. */
  #track(work) {
    this.#pending.add(work);
    void work.finally(() => this.#pending.delete(work));
  }

  // -- media -----------------------------------------------------------------------------------------------------

  async #transport(direction) {
    const info = await this.call("sfu-create-transport", { direction });
    if (this.#options.tcpOnly)
      info.iceCandidates = info.iceCandidates.filter(({ protocol }) => protocol === "tcp");
    const { via } = this.#options;
    if (via !== null) for (const candidate of info.iceCandidates) candidate.port = via[candidate.protocol];
    const transport =
      direction === "send" ? this.device.createSendTransport(info) : this.device.createRecvTransport(info);
    const answer = (request, done, failed) =>
      request.then((id) => done(id === true ? undefined : { id }), failed);
    const transportId = transport.id;
    transport.on("connect", ({ dtlsParameters }, done, failed) =>
      answer(this.call("sfu-connect-transport", { transportId, dtlsParameters }), done, failed),
    );
    transport.on("produce", ({ kind, rtpParameters, appData }, done, failed) =>
      answer(this.call("sfu-produce", { transportId, kind, rtpParameters, appData }), done, failed),
    );
    transport.on("producedata", ({ sctpStreamParameters, label, protocol, appData }, done, failed) =>
      answer(
        this.call("producedata", { transportId, sctpStreamParameters, label, protocol, appData }),
        done,
        failed,
      ),
    );
    return transport;
  }

  async #consume(producerId, kind) {
    if (this.consumers.has(producerId)) return;
    this.consumers.set(producerId, null);
    await this.#takeConsumer(await this.#askFor(producerId, kind));
  }

  #askFor(producerId, kind) {
    return this.call("sfu-consume", {
      producerId,
      transportId: this.transports.recv.id,
      rtpCapabilities: this.device.recvRtpCapabilities,
      ...(kind === "audio" ? { ignoreDtx: true } : {}),
    });
  }

  async #takeConsumer(info) {
    const consumer = await this.transports.recv.consume(info);
    this.consumers.set(info.producerId, consumer);
    this.#play(consumer);
  }

  #play(consumer) {
    const element = document.getElementById(consumer.kind === "video" ? "video" : "audio");
    element.srcObject = new MediaStream([consumer.track]);
    void element.play();
    if (consumer.kind === "audio") this.#listenTo(element.srcObject);
  }

  async #sendData() {
    this.transports.data = await this.#transport("send");
    const channel = await this.transports.data.produceData({ label: LABEL, ordered: false });
    this.dataProducer = channel;
    if (channel.readyState === "open") return;
    await new Promise((resolve, reject) => {
      channel.once("open", resolve);
      channel.once("close", () => reject(new Error("the data channel closed before it opened")));
    });
  }

  async #consumeData(id) {
    if (this.dataConsumers.has(id)) return;
    this.dataConsumers.set(id, null);
    const info = await this.call("consumedata", { dataProducerId: id, transportId: this.transports.recv.id });
    const consumer = await this.transports.recv.consumeData(info);
    this.dataConsumers.set(id, consumer);
    consumer.on("message", (data) => {
      if (this.#inputTimes !== null) {
        const input = new DataView(data);
        this.#inputTimes.push([input.getFloat64(0), Date.now(), input.getUint8(8)]);
        return;
      }
      const number = numberOf(data);
      if (number === -1) this.received.bad += 1;
      else if (this.received.good.has(number)) this.received.duplicates += 1;
      else this.received.good.add(number);
    });
    if (consumer.readyState !== "open") await new Promise((resolve) => consumer.once("open", resolve));
  }

  // -- what is sent ----------------------------------------------------------------------------------------------

  #videoTrack = null;
  #picture() {
    if (this.#videoTrack) return this.#videoTrack;
    const canvas = document.getElementById("canvas");
    const context = canvas.getContext("2d");
    const draw = () => {
      this.#frame += 1;
      paint(context, Date.now(), this.#frame);
    };
    draw();
    setInterval(draw, 1_000 / FRAME_RATE);
    [this.#videoTrack] = canvas.captureStream(FRAME_RATE).getVideoTracks();
    return this.#videoTrack;
  }

  /** Unless told otherwise, what the older emulator pages ask for where they send simulcast. */
  #twoSizes(rates) {
    const [full, half] = rates === true ? [2_500_000, 900_000] : rates;
    return {
      codec: this.#codec("VP8"),
      encodings: [{ maxBitrate: full }, { scaleResolutionDownBy: 2, maxBitrate: half }],
    };
  }

  #codec(name) {
    const { codecs } = this.device.sendRtpCapabilities;
    return codecs.find(({ mimeType }) => mimeType.toLowerCase() === `video/${name.toLowerCase()}`);
  }

  #audioTrack = null;
  #tone() {
    if (this.#audioTrack) return this.#audioTrack;
    const context = new AudioContext();
    const tone = new OscillatorNode(context, { frequency: TONE });
    const destination = context.createMediaStreamDestination();
    tone.connect(new GainNode(context, { gain: 0.5 })).connect(destination);
    tone.start();
    [this.#audioTrack] = destination.stream.getAudioTracks();
    return this.#audioTrack;
  }

  /** Send messages `from` to `from + count - 1`, a few at a time. */
  async sendMessages(from, count) {
    for (let number = from; number < from + count; number += 1) {
      this.dataProducer.send(message(number));
      if (number % 25 === 0) await sleep(10);
    }
  }

  /** Send inputs for a while, each with the time when it was made and a byte of whoever sends. Returns how many. */
  async sendInputs(milliseconds, sender) {
    const data = new DataView(new ArrayBuffer(INPUT_LENGTH));
    data.setUint8(8, sender);
    let sent = 0;
    const timer = setInterval(() => {
      data.setFloat64(0, Date.now());
      this.dataProducer.send(data.buffer);
      sent += 1;
    }, 1_000 / INPUT_RATE);
    await sleep(milliseconds);
    clearInterval(timer);
    return sent;
  }

  // -- what is measured ------------------------------------------------------------------------------------------

  receivedCounts() {
    const { good, bad, duplicates } = this.received;
    return { good: good.size, bad, duplicates };
  }

  forgetMessages() {
    this.received = { good: new Set(), bad: 0, duplicates: 0 };
  }

  /** From now on every message that comes is an input; of each is noted when it was made and when it came. */
  expectInputs() {
    this.#inputTimes = [];
  }

  /** [made, came, sender] of each since then, in milliseconds since the epoch. */
  inputTimes() {
    return this.#inputTimes;
  }

  async stats() {
    const total = { framesSent: 0, framesDecoded: 0, estimate: 0, codec: null, protocols: [], states: [] };
    for (const transport of new Set(Object.values(this.transports))) {
      if (transport.closed) continue;
      total.states.push(transport.connectionState);
      const rows = await transport.getStats();
      for (const row of rows.values()) {
        total.framesSent += row.framesSent ?? 0;
        total.framesDecoded += row.framesDecoded ?? 0;
        if (row.kind === "video" && row.codecId) total.codec = rows.get(row.codecId)?.mimeType ?? total.codec;
        if (row.type === "candidate-pair" && row.nominated)
          total.estimate = Math.max(total.estimate, row.availableOutgoingBitrate ?? 0);
        if (row.type === "transport" && row.selectedCandidatePairId) {
          const remote = rows.get(rows.get(row.selectedCandidatePairId)?.remoteCandidateId);
          if (remote) total.protocols.push(remote.protocol);
        }
      }
    }
    return total;
  }

  /** Watch the picture for a while: how old it is when it is shown, in milliseconds. */
  async watch(milliseconds) {
    const video = document.getElementById("video");
    const canvas = new OffscreenCanvas(WIDTH, HEIGHT);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const ages = [];
    let unreadable = 0;
    let watching = true;
    const look = () => {
      if (!watching) return;
      const now = Date.now() >>> 0;
      context.drawImage(video, 0, 0, WIDTH, HEIGHT);
      const clock = read(context);
      if (clock === null) unreadable += 1;
      else ages.push((now - clock.time) >>> 0);
      video.requestVideoFrameCallback(look);
    };
    video.requestVideoFrameCallback(look);
    await sleep(milliseconds);
    watching = false;
    ages.sort((a, b) => a - b);
    const at = (share) => ages[Math.min(Math.floor(ages.length * share), ages.length - 1)] ?? null;
    return {
      frames: ages.length,
      unreadable,
      width: video.videoWidth,
      p50: at(0.5),
      p95: at(0.95),
      max: at(1),
    };
  }

  /** From now on note when a frame of the picture is shown. */
  noteFrames() {
    const video = document.getElementById("video");
    const isFirst = this.#frameTimes === null;
    this.#frameTimes = [];
    if (!isFirst) return;
    const note = (_now, { presentationTime }) => {
      this.#frameTimes.push(performance.timeOrigin + presentationTime);
      video.requestVideoFrameCallback(note);
    };
    video.requestVideoFrameCallback(note);
  }

  /** When the frames since then were shown, in milliseconds since the epoch. */
  frameTimes() {
    return this.#frameTimes;
  }

  /** What the browser counts of the picture that it sends or gets, where it tells why a scenario does not hold. */
  async pictureStats() {
    const wanted = [
      "frames",
      ...[
        "framesEncoded",
        "framesDecoded",
        "framesDropped",
        "frameWidth",
        "freezeCount",
        "totalFreezesDuration",
      ],
      ...["packetsLost", "packetsSent", "packetsReceived", "retransmittedPacketsSent", "keyFramesEncoded"],
      ...["keyFramesDecoded", "nackCount", "pliCount", "targetBitrate", "qualityLimitationReason"],
      ...["jitterBufferDelay", "jitterBufferEmittedCount", "retransmittedPacketsReceived", "bytesReceived"],
    ];
    const found = [];
    for (const transport of new Set(Object.values(this.transports)))
      for (const row of (await transport.getStats()).values())
        if (/^((in|out)bound-rtp|media-source)$/.test(row.type) && row.kind === "video")
          found.push(
            Object.fromEntries(wanted.filter((name) => name in row).map((name) => [name, row[name]])),
          );
    return found;
  }

  #analyser = null;
  #listenTo(stream) {
    const context = new AudioContext();
    const analyser = new AnalyserNode(context, { fftSize: 8_192, smoothingTimeConstant: 0 });
    context.createMediaStreamSource(stream).connect(analyser);
    this.#analyser = analyser;
  }

  /** The loudest frequency heard now, in Hz, and how loud it is, in dB of full scale. */
  hear() {
    const analyser = this.#analyser;
    if (!analyser) return { frequency: 0, level: -Infinity };
    const spectrum = new Float32Array(analyser.frequencyBinCount);
    analyser.getFloatFrequencyData(spectrum);
    const loudest = spectrum.reduce((best, level, bin) => (level > spectrum[best] ? bin : best), 0);
    return {
      frequency: (loudest * analyser.context.sampleRate) / analyser.fftSize,
      level: spectrum[loudest],
    };
  }

  /** Join late: milliseconds from asking to consume to the first frame on screen. */
  async timeToFirstFrame(room) {
    await this.join(room, { spectator: true, consume: false });
    this.transports.recv = await this.#transport("recv");
    const producers = await this.call("sfu-get-producers", {});
    const { id } = producers.find(({ kind }) => kind === "video");
    const video = document.getElementById("video");
    const shown = new Promise((resolve) => video.requestVideoFrameCallback(() => resolve(performance.now())));
    const asked = performance.now();
    await this.#consume(id, "video");
    return (await shown) - asked;
  }

  /** New ICE credentials on every transport, as a client does when its network changed. */
  async restartIce() {
    const credentials = [];
    for (const transport of new Set(Object.values(this.transports))) {
      const { iceParameters } = await this.call("sfu-restart-ice", { transportId: transport.id });
      await transport.restartIce({ iceParameters });
      credentials.push(iceParameters.usernameFragment);
    }
    return credentials;
  }

  /** Give up all transports, here and at the server. */
  async dropTransports() {
    const answer = await this.call("sfu-recreate-transports", {});
    for (const transport of new Set(Object.values(this.transports))) transport.close();
    this.transports = {};
    this.consumers.clear();
    this.dataConsumers.clear();
    return answer;
  }

  get engine() {
    return this.socket.io.engine.transport.name;
  }
}

window.bare = new Bare();
