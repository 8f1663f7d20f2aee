/**
 * A room member made of werift and socket.io-client: a WebRTC stack in TypeScript that shares no code with ours.
 *
 * A program of its own: `node peer.mjs URL TOKEN`. It reads one JSON command a line from standard input
 * (`{"do": name, ...}`, see Program) and answers each with one line, `{"value": ...}` or `{"error": text}`. It has no
 * codecs: pictures come and go as the RTP payloads of VP8.
 */

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";

import { io } from "socket.io-client";
import {
  MediaStreamTrack,
  RTCRtpCodecParameters,
  RTCRtpHeaderExtensionParameters,
  RTCRtpReceiver,
  RTCRtpSender,
  RtpHeader,
  RtpPacket,
} from "werift";

import { Transport, within } from "./transport.mjs";

const FRAME_RATE = 30;
/** How long the packets of a picture are waited for, in milliseconds. */
const REPAIR_TIME = 500;
const CLOCK_RATE = 90_000;
const VP8 = 97;
const VP8_RTX = 98;
const MID = "urn:ietf:params:rtp-hdrext:sdes:mid";
const TRANSPORT_WIDE_CC = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
const EXTENSIONS = [
  { uri: MID, id: 1 },
  { uri: TRANSPORT_WIDE_CC, id: 5 },
];
const FEEDBACK = [
  { type: "nack", parameter: "" },
  { type: "nack", parameter: "pli" },
  { type: "transport-cc", parameter: "" },
];
/** SSRC that reports of receivers come from. */
const REPORTING_SSRC = 1;

/** Of the router's capabilities, what this peer takes: VP8 with RTX, and Opus. */
function wantedCapabilities({ codecs, headerExtensions }) {
  const media = codecs.filter(({ mimeType }) => ["audio/opus", "video/vp8"].includes(mimeType.toLowerCase()));
  const known = media.map(({ preferredPayloadType }) => preferredPayloadType);
  const repair = codecs.filter(({ parameters }) => known.includes(parameters.apt));
  return {
    codecs: [...media, ...repair],
    headerExtensions: headerExtensions.filter(({ uri }) => EXTENSIONS.some((each) => each.uri === uri)),
  };
}

/** Codec parameters of signaling as werift writes them. */
const codecOf = ({ mimeType, payloadType, clockRate, channels, parameters = {}, rtcpFeedback = [] }) =>
  new RTCRtpCodecParameters({
    mimeType,
    payloadType,
    clockRate,
    ...(channels ? { channels } : {}),
    parameters: Object.entries(parameters)
      .map(([name, value]) => `${name}=${value}`)
      .join(";"),
    rtcpFeedback,
  });

/** How a message is reported: kind, length, hash. */
function digest(message) {
  const data = Buffer.from(message);
  const hash = createHash("sha256").update(data).digest("hex").slice(0, 16);
  return [typeof message === "string" ? "text" : "binary", data.length, hash];
}

/** One member of one room. Every public method is a command. */
class Program {
  #socket;
  #connected;
  #role = "client";
  #capabilities;
  #sending = null;
  #receiving = null;
  #sender = null;
  #timer = null;
  #frame = 0;
  #channels = new Map();
  #received = {};
  /** By timestamp: when it began to come, and its packets as `[sequence number, payload]`. */
  #pictures = new Map();
  #packets = { video: 0, audio: 0 };
  #nacks = 0;
  #failures = [];

  constructor(url, token) {
    this.#socket = io(url, { auth: { token }, transports: ["websocket"], reconnection: false });
    this.#connected = new Promise((resolve) => this.#socket.once("connect", resolve));
  }

  async join({ room, create = false, dtls_role: role = "client" }) {
    this.#role = role;
    await within("signaling", this.#connected);
    this.#socket.on("new-producer", ({ id }) => this.#later(this.#consume(id)));
    this.#socket.on("new-data-producer", ({ id }) => this.#later(this.#consumeData(id)));
    this.#capabilities = wantedCapabilities(await this.#call("sfu-get-router-rtp-capabilities"));
    const payload = { extra: { room_name: room }, maxPlayers: 4 };
    if (create) await this.#call("open-room", payload);
    await this.#call("join-room", payload);
    for (const { id } of await this.#call("sfu-get-producers")) await this.#consume(id);
    for (const { id } of await this.#call("sfu-get-data-producers")) await this.#consumeData(id);
  }

  /** Send the pictures of a file, again and again, and open channels: `{label: reliability}`. */
  async produce({ pictures = null, channels }) {
    this.#sending ??= await this.#transport("send");
    if (pictures !== null) await this.#producePicture(JSON.parse(await readFile(pictures, "utf8")));
    for (const [label, reliability] of Object.entries(channels)) {
      const channel = await this.#sending.channel(label, reliability);
      this.#channels.set(label, channel);
      await this.#call("producedata", {
        transportId: this.#sending.id,
        sctpStreamParameters: { streamId: channel.id, ...reliability },
        label,
        protocol: "json", // so that text may pass
      });
    }
  }

  /** Send messages, each `{"text": ...}` or `{"base64": ...}`. */
  send({ label, messages }) {
    for (const { text, base64 } of messages)
      this.#channels.get(label).send(text ?? Buffer.from(base64, "base64"));
  }

  status() {
    const transports = this.#transports();
    return {
      messages: this.#received,
      packets: this.#packets,
      nacks: this.#nacks,
      lost: transports.reduce((sum, { lost }) => sum + lost, 0),
      reports: transports.map(({ reports }) => reports),
      dtls: transports.map(({ dtls }) => dtls.state),
      sent: this.#frame,
      failures: this.#failures,
    };
  }

  /**
   * What came since the last time, picture by picture: `[timestamp, [payload, ...]]`, payloads in Base64. The newest
   * pictures are kept back: what they lack may still come.
   */
  pictures() {
    const until = performance.now() - REPAIR_TIME;
    const ready = [...this.#pictures].filter(([, { began }]) => began < until);
    for (const [timestamp] of ready) this.#pictures.delete(timestamp);
    return ready
      .sort(([one], [other]) => (one - other) | 0) // they wrap around
      .map(([timestamp, { packets }]) => [
        timestamp,
        packets
          .sort(([one], [other]) => ((one - other) << 16) >> 16) // so do these
          .map(([, payload]) => payload.toString("base64")),
      ]);
  }

  lose({ every }) {
    for (const transport of this.#transports()) transport.loseEvery = every;
  }

  /** Restart ICE on all transports: our username fragments, `[[before, after], ...]`. */
  async restart_ice() {
    const fragments = [];
    for (const transport of this.#transports()) {
      const before = transport.usernameFragment;
      const { iceParameters } = await this.#call("sfu-restart-ice", { transportId: transport.id });
      await transport.connect(iceParameters);
      fragments.push([before, transport.usernameFragment]);
    }
    return fragments;
  }

  async leave() {
    clearInterval(this.#timer);
    await this.#call("leave-room");
    for (const transport of this.#transports()) await transport.stop();
    this.#socket.disconnect();
  }

  // -- what they are made of -----------------------------------------------------------------------------------------

  async #call(event, payload = {}) {
    const answer = await within(
      event,
      new Promise((resolve) => this.#socket.emit(event, payload, (...values) => resolve(values))),
    );
    if (answer[0]) throw new Error(`${event}: ${JSON.stringify(answer[0])}`);
    return answer[1];
  }

  #later(work) {
    work.catch((error) => this.#failures.push(String(error)));
  }

  #transports() {
    return [this.#sending, this.#receiving].filter((each) => each !== null);
  }

  async #transport(direction) {
    const transport = await Transport.make(
      await this.#call("sfu-create-transport", { direction }),
      this.#role,
    );
    await this.#call("sfu-connect-transport", {
      transportId: transport.id,
      dtlsParameters: transport.dtlsParameters,
    });
    await transport.start();
    return transport;
  }

  #starting = null;
  /** The transport to receive on, made by whoever needs it first. */
  async #receiver() {
    this.#starting ??= this.#transport("recv");
    this.#receiving = await this.#starting;
    return this.#receiving;
  }

  async #producePicture(pictures) {
    const codecs = [
      {
        mimeType: "video/VP8",
        payloadType: VP8,
        clockRate: CLOCK_RATE,
        parameters: {},
        rtcpFeedback: FEEDBACK,
      },
      { mimeType: "video/rtx", payloadType: VP8_RTX, clockRate: CLOCK_RATE, parameters: { apt: VP8 } },
    ];
    const sender = new RTCRtpSender("video");
    sender.setDtlsTransport(this.#sending.dtls);
    sender.prepareSend({
      codecs: codecs.map(codecOf),
      headerExtensions: EXTENSIONS.map((each) => new RTCRtpHeaderExtensionParameters(each)),
      muxId: "video",
      rtcp: { cname: "werift", mux: true },
    });
    this.#sending.router.registerRtpSender(sender);
    this.#sender = sender;
    await this.#call("sfu-produce", {
      transportId: this.#sending.id,
      kind: "video",
      rtpParameters: {
        mid: "video",
        codecs,
        headerExtensions: EXTENSIONS,
        encodings: [{ ssrc: sender.ssrc, rtx: { ssrc: sender.rtxSsrc } }],
        rtcp: { cname: "werift" },
      },
    });
    let sequenceNumber = 0;
    this.#timer = setInterval(() => {
      const payloads = pictures[this.#frame % pictures.length];
      const timestamp = (this.#frame * (CLOCK_RATE / FRAME_RATE)) >>> 0;
      this.#frame += 1;
      payloads.forEach((payload, index) => {
        const header = new RtpHeader({
          sequenceNumber: sequenceNumber++ & 0xffff,
          timestamp,
          marker: index === payloads.length - 1,
        });
        this.#later(this.#sender.sendRtp(new RtpPacket(header, Buffer.from(payload, "base64"))));
      });
    }, 1_000 / FRAME_RATE);
  }

  async #consume(producerId) {
    const transport = await this.#receiver();
    const { kind, rtpParameters } = await this.#call("sfu-consume", {
      producerId,
      transportId: transport.id,
      rtpCapabilities: this.#capabilities,
      ignoreDtx: true,
    });
    const { codecs, encodings, headerExtensions } = rtpParameters;
    const [{ ssrc, rtx }] = encodings;
    const receiver = new RTCRtpReceiver({}, kind, REPORTING_SSRC);
    receiver.setDtlsTransport(transport.dtls);
    receiver.prepareReceive({
      codecs: codecs.map(codecOf),
      encodings: [{ ssrc, payloadType: codecs[0].payloadType, ...(rtx ? { rtx } : {}) }],
      headerExtensions,
    });
    const track = new MediaStreamTrack({ kind, ssrc, remote: true });
    receiver.addTrack(track);
    for (const each of [ssrc, rtx?.ssrc]) if (each) transport.router.ssrcTable[each] = receiver;
    for (const { id, uri } of headerExtensions) transport.router.extIdUriMap[id] = uri;
    receiver.onPacketLost.subscribe(() => (this.#nacks += 1));
    track.onReceiveRtp.subscribe(({ header, payload }) => {
      this.#packets[kind] += 1;
      if (kind !== "video") return;
      const picture = this.#pictures.get(header.timestamp) ?? { began: performance.now(), packets: [] };
      picture.packets.push([header.sequenceNumber, payload]);
      this.#pictures.set(header.timestamp, picture);
    });
  }

  async #consumeData(dataProducerId) {
    const transport = await this.#receiver();
    const { label, sctpStreamParameters } = await this.#call("consumedata", {
      dataProducerId,
      transportId: transport.id,
    });
    const received = (this.#received[label] ??= []);
    const { streamId: id, ordered = true } = sctpStreamParameters;
    const channel = await transport.channel(label, { id, ordered });
    channel.onMessage.subscribe((message) => received.push(digest(message)));
  }
}

const COMMANDS = ["join", "produce", "send", "status", "pictures", "lose", "restart_ice", "leave"];

const program = new Program(...process.argv.slice(2));
for await (const line of createInterface({ input: process.stdin })) {
  const { do: name, ...command } = JSON.parse(line);
  let answer;
  try {
    if (!COMMANDS.includes(name)) throw new Error("no such command");
    answer = { value: (await program[name](command)) ?? null };
  } catch (error) {
    answer = { error: `${name}: ${error.stack}` };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.exit(0);
