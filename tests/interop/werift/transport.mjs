/** Transports of peer.mjs: werift's objects put together without SDP, as signaling describes them. */

import {
  GenericNack,
  IceCandidate,
  PictureLossIndication,
  RTCDataChannel,
  RTCDataChannelParameters,
  RTCDtlsFingerprint,
  RTCDtlsParameters,
  RTCDtlsTransport,
  RTCIceGatherer,
  RTCIceParameters,
  RTCIceTransport,
  RTCSctpTransport,
  RtcpRrPacket,
  RtcpSrPacket,
  RtpRouter,
  TransportWideCC,
} from "werift";

const HOST = "127.0.0.1";
const TIMEOUT = 10_000;
/** SRTP protection profiles (RFC 5764, RFC 7714), the preferred one first. */
const AEAD_AES_128_GCM = 0x0007;
const AES128_CM_HMAC_SHA1_80 = 0x0001;
/** What RTCP packets are counted as. */
const REPORTS = {
  nack: GenericNack,
  pli: PictureLossIndication,
  "transport-cc": TransportWideCC,
  "receiver report": RtcpRrPacket,
  "sender report": RtcpSrPacket,
};

/** The result of work, or an error if there is none in time. */
export function within(what, work) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`waited ${TIMEOUT} ms in vain: ${what}`)), TIMEOUT);
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/** One WebRTC transport with what is on it. */
export class Transport {
  #info;
  #lost = 0;
  #seen = 0;
  /** Of every so many media packets that come in, one is thrown away; 0 for none. */
  loseEvery = 0;
  channels = 0;
  router = new RtpRouter();
  /** How many RTCP packets of each kind came. */
  reports = {};

  static async make(info, role) {
    await RTCDtlsTransport.SetupCertificate();
    return new Transport(info, role);
  }

  constructor(info, role) {
    this.#info = info;
    const gatherer = new RTCIceGatherer({
      interfaceAddresses: { udp4: HOST },
      additionalHostAddresses: [HOST],
      useIpv6: false,
    });
    this.ice = new RTCIceTransport(gatherer);
    this.ice.connection.iceControlling = true;
    this.dtls = new RTCDtlsTransport({}, this.ice, undefined, [AEAD_AES_128_GCM, AES128_CM_HMAC_SHA1_80]);
    this.dtls.role = role;
    this.sctp = new RTCSctpTransport();
    this.sctp.setDtlsTransport(this.dtls);
    this.sctp.setRemoteMaxMessageSize(info.sctpParameters.maxMessageSize);
    this.dtls.onRtp.subscribe((packet) => {
      this.#seen += 1;
      if (this.loseEvery > 0 && this.#seen % this.loseEvery === 0) this.#lost += 1;
      else this.router.routeRtp(packet);
    });
    this.dtls.onRtcp.subscribe((packet) => {
      for (const [name, kind] of Object.entries(REPORTS))
        if ((packet.feedback ?? packet) instanceof kind) this.reports[name] = (this.reports[name] ?? 0) + 1;
      this.router.routeRtcp(packet);
    });
  }

  get id() {
    return this.#info.id;
  }

  get lost() {
    return this.#lost;
  }

  get usernameFragment() {
    return this.ice.localParameters.usernameFragment;
  }

  /** For `sfu-connect-transport`. */
  get dtlsParameters() {
    const { role, fingerprints } = this.dtls.localParameters;
    return { role, fingerprints: fingerprints.map(({ algorithm, value }) => ({ algorithm, value })) };
  }

  async start() {
    const { dtlsParameters, iceParameters, sctpParameters } = this.#info;
    await this.connect(iceParameters);
    const fingerprints = dtlsParameters.fingerprints.map(
      ({ algorithm, value }) => new RTCDtlsFingerprint(algorithm, value),
    );
    this.dtls.setRemoteParams(
      new RTCDtlsParameters(fingerprints, this.dtls.role === "client" ? "server" : "client"),
    );
    await within("DTLS", this.dtls.start());
    await within("SCTP", this.sctp.start(sctpParameters.port));
  }

  /** Check the way to the server with these credentials; with new ones it is an ICE restart. */
  async connect(parameters) {
    this.ice.setRemoteParams(new RTCIceParameters(parameters));
    await this.ice.gather();
    for (const { foundation, ip, port, priority, protocol, type } of this.#info.iceCandidates)
      if (protocol === "udp")
        await this.ice.addRemoteCandidate(
          new IceCandidate(1, foundation, ip, port, priority, protocol, type),
        );
    await this.ice.addRemoteCandidate(undefined);
    await within("ICE", this.ice.start());
  }

  /** A channel that signaling negotiates, opened. Without an id: the next one. */
  async channel(label, { id = this.channels++, ...reliability }) {
    const channel = new RTCDataChannel(
      this.sctp,
      new RTCDataChannelParameters({ label, id, negotiated: true, ...reliability }),
    );
    if (channel.readyState !== "open")
      await within(`channel ${label}`, new Promise((resolve) => (channel.onopen = resolve)));
    return channel;
  }

  async stop() {
    await this.sctp.stop();
    await this.dtls.stop();
  }
}
