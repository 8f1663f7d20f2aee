/**
 * One build of our media: at most one send and one receive transport with everything on them.
 *
 * A graph is made, used and closed as a whole. Recovery that an ICE restart cannot give replaces it by a new one,
 * so no part of it ever has to be repaired in place.
 */

import type { types } from "mediasoup-client";

import { Emitter } from "./emitter.js";
import {
  type DataProducerInfo,
  type ProducerInfo,
  parseDataProducer,
  parseId,
  parseList,
  parseProducer,
} from "./protocol.js";
import { RequestError, type Signaling } from "./signaling.js";

/** How many remote producers and data producers one graph consumes; what is announced beyond is ignored. */
export const MAX_CONSUMERS = 64;
/** Messages larger than this many queued bytes behind on a data channel are dropped: stale inputs help nobody. */
export const MAX_QUEUED = 65_536;
/** How long a data channel keeps trying to deliver a message, in milliseconds. */
export const MESSAGE_LIFETIME = 3_000;
/** What a lower layer of simulcast may take of the bit rate of the one above: a quarter of its pixels, and a bit. */
const LAYER_SHARE = 0.3;
/** Codecs whose layers are streams of their own; the others have theirs within one stream. */
const SIMULCAST_CODECS = new Set(["vp8", "h264"]);

/** How the picture is sent. */
export interface VideoOptions {
  /** `auto` is the first codec of the server's list that this browser can send: VP9 with default settings. */
  readonly codec?: "auto" | "vp9" | "h264" | "vp8" | "av1";
  /** Upper bound in bits per second. */
  readonly maxBitrate?: number;
  readonly maxFramerate?: number;
  /**
   * Send the picture in this many sizes at once, each half as wide and high as the next, so that viewers with thin
   * lines can get a smaller one. In VP8, unless `codec` is H264: the others do this in another way. Off by default.
   */
  readonly simulcast?: 2 | 3;
}

/** What a member sends and receives. */
export interface MediaPlan {
  readonly video?: MediaStreamTrack;
  readonly audio?: MediaStreamTrack;
  readonly videoOptions?: VideoOptions;
  /** Label of the data channel to send on. */
  readonly sendData?: string;
  /** What that channel says of us. */
  readonly sendProtocol?: string;
  /** Label of another one, for messages that are sent again anyway; opened when a peer's channel has this protocol. */
  readonly sendRuns?: { readonly label: string; readonly protocol: string };
  /** Consume the others' audio and video. */
  readonly receiveMedia: boolean;
  /** Consume the others' data channels with these labels. */
  readonly receiveData: readonly string[];
}

export interface GraphEvents {
  /** A remote track arrived. */
  track: { kind: "audio" | "video"; track: MediaStreamTrack; producerId: string };
  /** A remote track ended with its producer. */
  ended: { kind: "audio" | "video"; producerId: string };
  /** A message on a consumed data channel; `channel` tells the senders apart. */
  data: { channel: string; data: unknown };
  /** A data channel is being consumed. */
  dataOpened: { channel: string; protocol: string };
  /** A consumed data channel is gone. */
  dataClosed: { channel: string };
  /** It is gone though its producer is not: {@link MediaGraph.consumeAgain} gets another. */
  dataLost: { channel: string };
  /** Our data channel with this label can send. */
  open: { label: string };
  /** It was closed, but not by us: {@link MediaGraph.openChannel} makes another. */
  channelLost: { label: string };
  connection: { transport: types.Transport; state: types.ConnectionState };
}

export class MediaGraph extends Emitter<GraphEvents> {
  readonly #signaling: Signaling;
  readonly #device: types.Device;
  readonly #plan: MediaPlan;
  readonly #consumed = new Map<string, types.Consumer | null>();
  readonly #dataConsumed = new Map<string, types.DataConsumer | null>();
  #send: Promise<types.Transport> | null = null;
  #recv: Promise<types.Transport> | null = null;
  #transports: types.Transport[] = [];
  #producers: types.Producer[] = [];
  /** Ids of data producers whose consumer was lost. */
  readonly #dataLost = new Set<string>();
  /** Our data channels by label; null while one is being made. */
  readonly #channels = new Map<string, types.DataProducer | null>();
  #closed = false;

  constructor(signaling: Signaling, device: types.Device, plan: MediaPlan) {
    super();
    this.#signaling = signaling;
    this.#device = device;
    this.#plan = plan;
  }

  get closed(): boolean {
    return this.#closed;
  }

  get transports(): readonly types.Transport[] {
    return this.#transports;
  }

  get producers(): readonly types.Producer[] {
    return this.#producers;
  }

  get consumers(): types.Consumer[] {
    return [...this.#consumed.values()].filter((consumer) => consumer !== null);
  }

  /** Our data channel with this label, for tests. */
  channel(label: string): types.DataProducer | null {
    return this.#channels.get(label) ?? null;
  }

  /** What we consume this data producer with, for tests. */
  dataConsumer(id: string): types.DataConsumer | null {
    return this.#dataConsumed.get(id) ?? null;
  }

  /** Build what the plan asks for. @throws RequestError, or mediasoup-client's errors. */
  async build(): Promise<void> {
    await Promise.all([this.#buildSending(), this.#buildReceiving()]);
  }

  /** Send on a data channel of ours; false if it is not open, or so far behind that the message would only be late. */
  sendData(message: Uint8Array, label: string | undefined = this.#plan.sendData): boolean {
    const channel = this.#channels.get(label ?? "");
    if (!channel || channel.readyState !== "open" || channel.bufferedAmount > MAX_QUEUED) return false;
    channel.send(message);
    return true;
  }

  /** Consume a remote producer; announced twice or not wanted, nothing happens. */
  async consume({ id, kind }: ProducerInfo): Promise<void> {
    if (
      this.#closed ||
      !this.#plan.receiveMedia ||
      this.#consumed.has(id) ||
      this.#consumed.size >= MAX_CONSUMERS
    )
      return;
    this.#consumed.set(id, null);
    try {
      const transport = await this.#receiving();
      if (this.#closed) return;
      const info = await this.#signaling.request("sfu-consume", {
        producerId: id,
        transportId: transport.id,
        rtpCapabilities: this.#device.recvRtpCapabilities,
        ...(kind === "audio" ? { ignoreDtx: true } : {}),
      });
      // One stream per kind: tracks of one stream are played in step, which would hold the picture back.
      const consumer = await transport.consume({ ...info, streamId: info.kind });
      if (!this.#consumed.has(id)) {
        consumer.close(); // it ended while we were asking
        return;
      }
      this.#consumed.set(id, consumer);
      playAtOnce(consumer);
      this.emit("track", { kind: consumer.kind as "audio" | "video", track: consumer.track, producerId: id });
    } catch (error) {
      this.#consumed.delete(id);
      if (!this.#closed && !isRefusal(error)) throw error;
    }
  }

  /** Consume a remote data producer, if its label is the wanted one as far as it is known. */
  async consumeData({ id, label }: DataProducerInfo): Promise<void> {
    const wanted = this.#plan.receiveData;
    if (this.#closed || wanted.length === 0 || (label !== undefined && !wanted.includes(label))) return;
    if (this.#dataConsumed.has(id) || this.#dataConsumed.size >= MAX_CONSUMERS) return;
    this.#dataConsumed.set(id, null);
    try {
      const transport = await this.#receiving();
      if (this.#closed) return;
      const info = await this.#signaling.request("consumedata", {
        dataProducerId: id,
        transportId: transport.id,
      });
      if (!wanted.includes(info.label)) return; // keep the id: asking again would tell the same
      const consumer = await transport.consumeData(info);
      if (!this.#dataConsumed.has(id)) {
        consumer.close();
        return;
      }
      this.#dataConsumed.set(id, consumer);
      consumer.binaryType = "arraybuffer"; // some browsers would give blobs, which are read too late
      consumer.on("message", (data: unknown) => this.emit("data", { channel: id, data }));
      consumer.on("close", () => {
        this.producerClosed(id);
        this.#dataLost.add(id);
        this.emit("dataLost", { channel: id });
      });
      this.emit("dataOpened", { channel: id, protocol: info.protocol });
    } catch (error) {
      this.#dataConsumed.delete(id);
      if (!this.#closed && !isRefusal(error)) throw error;
    }
    const { sendRuns } = this.#plan;
    if (sendRuns === undefined || this.#channels.has(sendRuns.label)) return;
    if (this.#dataConsumed.get(id)?.protocol !== sendRuns.protocol) return;
    try {
      await this.openChannel(sendRuns.label);
    } catch (error) {
      // Without it inputs go singly, as to any other host.
      if (!this.#closed && !isRefusal(error)) throw error;
    }
  }

  /** Consume a data producer anew whose consumer was lost, unless it is gone itself by now. */
  async consumeAgain(id: string): Promise<void> {
    if (this.#dataLost.delete(id)) await this.consumeData({ id });
  }

  /** Open one of the plan's data channels, or another in place of one that was lost. */
  async openChannel(label: string): Promise<void> {
    if (this.#closed) return;
    this.#channels.set(label, null);
    const runs = label === this.#plan.sendRuns?.label;
    const protocol = runs ? undefined : this.#plan.sendProtocol;
    const transport = await this.#sending();
    if (this.#closed) return;
    const channel = await transport.produceData({
      label,
      ordered: false,
      ...(runs ? { maxRetransmits: 0 } : { maxPacketLifeTime: MESSAGE_LIFETIME }),
      ...(protocol === undefined ? {} : { protocol }),
    });
    this.#channels.set(label, channel);
    channel.on("close", () => this.emit("channelLost", { label }));
    if (channel.readyState === "open") this.emit("open", { label });
    else channel.on("open", () => this.emit("open", { label }));
  }

  /** A remote producer or data producer is gone. */
  producerClosed(id: string): void {
    this.#dataLost.delete(id);
    if (this.#consumed.has(id)) {
      const consumer = this.#consumed.get(id);
      this.#consumed.delete(id);
      consumer?.close();
      if (consumer) this.emit("ended", { kind: consumer.kind as "audio" | "video", producerId: id });
    }
    if (this.#dataConsumed.has(id)) {
      const consumer = this.#dataConsumed.get(id);
      this.#dataConsumed.delete(id);
      consumer?.close();
      if (consumer) this.emit("dataClosed", { channel: id });
    }
  }

  /** New ICE credentials for one transport: same DTLS session, nothing on it is lost. */
  async restartIce(transport: types.Transport): Promise<void> {
    const { iceParameters } = await this.#signaling.request("sfu-restart-ice", { transportId: transport.id });
    await transport.restartIce({ iceParameters });
  }

  /** Close everything. The tracks given in the plan live on. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const transport of this.#transports) transport.close();
    for (const id of [...this.#consumed.keys(), ...this.#dataConsumed.keys()]) this.producerClosed(id);
    this.clear();
  }

  async #buildSending(): Promise<void> {
    const { video, audio, sendData, videoOptions } = this.#plan;
    if (video === undefined && audio === undefined && sendData === undefined) return;
    const transport = await this.#sending();
    if (video !== undefined)
      this.#producers.push(await transport.produce(this.#videoOptions(video, videoOptions)));
    if (audio !== undefined) {
      this.#producers.push(
        await transport.produce({
          track: audio,
          stopTracks: false,
          codecOptions: { opusStereo: true, opusFec: true, opusDtx: false, opusPtime: 20 },
        }),
      );
    }
    if (sendData !== undefined) await this.openChannel(sendData);
  }

  async #buildReceiving(): Promise<void> {
    const { receiveMedia, receiveData } = this.#plan;
    if (!receiveMedia && receiveData.length === 0) return;
    const [producers, dataProducers] = await Promise.all([
      receiveMedia ? this.#signaling.request("sfu-get-producers", {}) : [],
      receiveData.length === 0 ? [] : this.#signaling.request("sfu-get-data-producers", {}),
      this.#receiving(),
    ]);
    await Promise.all([
      ...parseList(producers, parseProducer).map((producer) => this.consume(producer)),
      ...parseList(dataProducers, parseDataProducer).map((producer) => this.consumeData(producer)),
    ]);
  }

  #sending(): Promise<types.Transport> {
    this.#send ??= this.#makeTransport("send");
    return this.#send;
  }

  #receiving(): Promise<types.Transport> {
    this.#recv ??= this.#makeTransport("recv");
    return this.#recv;
  }

  async #makeTransport(direction: "send" | "recv"): Promise<types.Transport> {
    const info = await this.#signaling.request("sfu-create-transport", { direction });
    if (this.#closed) throw new RequestError("The media was closed meanwhile.", "offline");
    const transport =
      direction === "send" ? this.#device.createSendTransport(info) : this.#device.createRecvTransport(info);
    this.#transports.push(transport);
    const { id } = transport;
    transport.on("connect", ({ dtlsParameters }, done, failed) => {
      this.#signaling
        .request("sfu-connect-transport", { transportId: id, dtlsParameters })
        .then(() => done(), failed);
    });
    transport.on("produce", ({ kind, rtpParameters, appData }, done, failed) => {
      this.#signaling
        .request("sfu-produce", { transportId: id, kind, rtpParameters, appData })
        .then((answer) => done({ id: parseId(answer) ?? "" }))
        .catch(failed);
    });
    transport.on("producedata", ({ sctpStreamParameters, label, protocol, appData }, done, failed) => {
      this.#signaling
        .request("producedata", {
          transportId: id,
          sctpStreamParameters,
          label: label ?? "",
          protocol: protocol ?? "",
          appData,
        })
        .then((answer) => done({ id: parseId(answer) ?? "" }))
        .catch(failed);
    });
    transport.on("connectionstatechange", (state) => this.emit("connection", { transport, state }));
    return transport;
  }

  #videoOptions(track: MediaStreamTrack, options: VideoOptions = {}): types.ProducerOptions {
    const { codec: name = "auto", simulcast = 1 } = options;
    const wanted = `video/${simulcast > 1 && !SIMULCAST_CODECS.has(name) ? "vp8" : name}`;
    const codec = this.#device.sendRtpCapabilities.codecs?.find(
      (each) => each.mimeType.toLowerCase() === wanted,
    );
    return {
      track,
      stopTracks: false,
      encodings: Array.from({ length: simulcast }, (_, layer) => {
        const below = simulcast - 1 - layer; // the smallest comes first
        const share = LAYER_SHARE ** below;
        return {
          ...(simulcast > 1 ? { scaleResolutionDownBy: 2 ** below } : {}),
          ...(options.maxBitrate === undefined ? {} : { maxBitrate: Math.round(options.maxBitrate * share) }),
          ...(options.maxFramerate === undefined ? {} : { maxFramerate: options.maxFramerate }),
        };
      }),
      codecOptions: { videoGoogleStartBitrate: 1_000 }, // kbit/s; the default makes the first seconds a blur
      ...(codec === undefined ? {} : { codec }),
    };
  }
}

/** Ask the receiver not to hold frames back: this is a game, not a film. Browsers that cannot ignore it. */
function playAtOnce(consumer: types.Consumer): void {
  const receiver = consumer.rtpReceiver as { jitterBufferTarget?: number | null } | undefined;
  if (receiver && "jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
}

/** The server knows no such producer (any more), or we cannot play it: nothing to make a fuss about. */
function isRefusal(error: unknown): boolean {
  return error instanceof RequestError && error.code === "refused";
}
