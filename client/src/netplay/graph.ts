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

/** How the picture is sent. */
export interface VideoOptions {
  /** `auto` is the first codec of the server's list that this browser can send: VP9 with default settings. */
  readonly codec?: "auto" | "vp9" | "h264" | "vp8" | "av1";
  /** Upper bound in bits per second. */
  readonly maxBitrate?: number;
  readonly maxFramerate?: number;
}

/** What a member sends and receives. */
export interface MediaPlan {
  readonly video?: MediaStreamTrack;
  readonly audio?: MediaStreamTrack;
  readonly videoOptions?: VideoOptions;
  /** Label of the data channel to send on. */
  readonly sendData?: string;
  /** Consume the others' audio and video. */
  readonly receiveMedia: boolean;
  /** Consume the others' data channels with this label. */
  readonly receiveData?: string;
}

export interface GraphEvents {
  /** A remote track arrived. */
  track: { kind: "audio" | "video"; track: MediaStreamTrack; producerId: string };
  /** A remote track ended with its producer. */
  ended: { kind: "audio" | "video"; producerId: string };
  /** A message on a consumed data channel; `channel` tells the senders apart. */
  data: { channel: string; data: unknown };
  /** A consumed data channel is gone. */
  dataClosed: { channel: string };
  /** Our data channel can send. */
  open: undefined;
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
  #dataProducer: types.DataProducer | null = null;
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

  /** Build what the plan asks for. @throws RequestError, or mediasoup-client's errors. */
  async build(): Promise<void> {
    await Promise.all([this.#buildSending(), this.#buildReceiving()]);
  }

  /** Send on our data channel; false if it is not open, or so far behind that the message would only be late. */
  sendData(message: Uint8Array): boolean {
    const channel = this.#dataProducer;
    if (channel === null || channel.readyState !== "open" || channel.bufferedAmount > MAX_QUEUED)
      return false;
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
    if (this.#closed || wanted === undefined || (label !== undefined && label !== wanted)) return;
    if (this.#dataConsumed.has(id) || this.#dataConsumed.size >= MAX_CONSUMERS) return;
    this.#dataConsumed.set(id, null);
    try {
      const transport = await this.#receiving();
      if (this.#closed) return;
      const info = await this.#signaling.request("consumedata", {
        dataProducerId: id,
        transportId: transport.id,
      });
      if (info.label !== wanted) return; // keep the id: asking again would tell the same
      const consumer = await transport.consumeData(info);
      if (!this.#dataConsumed.has(id)) {
        consumer.close();
        return;
      }
      this.#dataConsumed.set(id, consumer);
      consumer.binaryType = "arraybuffer"; // some browsers would give blobs, which are read too late
      consumer.on("message", (data: unknown) => this.emit("data", { channel: id, data }));
      consumer.on("close", () => this.producerClosed(id));
    } catch (error) {
      this.#dataConsumed.delete(id);
      if (!this.#closed && !isRefusal(error)) throw error;
    }
  }

  /** A remote producer or data producer is gone. */
  producerClosed(id: string): void {
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
    if (sendData !== undefined) {
      const channel = await transport.produceData({
        label: sendData,
        ordered: false,
        maxPacketLifeTime: MESSAGE_LIFETIME,
      });
      this.#dataProducer = channel;
      if (channel.readyState === "open") this.emit("open", undefined);
      else channel.on("open", () => this.emit("open", undefined));
    }
  }

  async #buildReceiving(): Promise<void> {
    const { receiveMedia, receiveData } = this.#plan;
    if (!receiveMedia && receiveData === undefined) return;
    const [producers, dataProducers] = await Promise.all([
      receiveMedia ? this.#signaling.request("sfu-get-producers", {}) : [],
      receiveData === undefined ? [] : this.#signaling.request("sfu-get-data-producers", {}),
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
    const wanted = `video/${options.codec ?? "auto"}`;
    const codec = this.#device.sendRtpCapabilities.codecs?.find(
      (each) => each.mimeType.toLowerCase() === wanted,
    );
    return {
      track,
      stopTracks: false,
      encodings: [
        {
          ...(options.maxBitrate === undefined ? {} : { maxBitrate: options.maxBitrate }),
          ...(options.maxFramerate === undefined ? {} : { maxFramerate: options.maxFramerate }),
        },
      ],
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
