/** A page that plays by the netplay module, at the address of all nodes. Driven by nodes.test.mjs. */

import { Device } from "mediasoup-client";
import { io } from "socket.io-client";

import { BUTTONS, NetplaySession } from "/netplay.js";

import { HEIGHT, WIDTH, paint, read } from "./picture.mjs";

const FRAME_RATE = 30;

/** Whom nginx knows by name and password gets a token from RomM's side. */
async function mint(user, password) {
  const response = await fetch("/api/sfu/token", {
    method: "POST",
    headers: { Authorization: `Basic ${btoa(`${user}:${password}`)}`, "Content-Type": "application/json" },
    body: JSON.stringify({ token_type: "read" }),
  });
  if (!response.ok) throw new Error(`no token: ${response.status}`);
  return (await response.json()).token;
}

window.player = {
  /** What the game was told, oldest first. */
  inputs: [],

  /** Sign in, at the address of all or at a node's own. */
  async connect(user, password, url = location.origin) {
    const session = new NetplaySession({ url, io, Device, token: () => mint(user, password) });
    this.session = session;
    session.on("input", ({ index, value }) => this.inputs.push([index, value]));
    session.on("track", ({ track }) => {
      document.querySelector("#video").srcObject = new MediaStream([track]);
    });
    await session.connect();
  },

  /** Which node answers at the address of all. */
  async node(user, password) {
    const token = await mint(user, password);
    const response = await fetch("/ice", { headers: { Authorization: `Bearer ${token}` } });
    return (await response.json()).nodeId;
  },

  async host(name) {
    const canvas = document.querySelector("#canvas");
    const context = canvas.getContext("2d");
    let frame = 0;
    setInterval(() => paint(context, Date.now(), (frame += 1)), 1_000 / FRAME_RATE);
    await this.session.open({ name, video: canvas.captureStream(FRAME_RATE).getVideoTracks()[0] });
  },

  /** Join and wait for the picture; returns the milliseconds that took. */
  async join(name) {
    const began = performance.now();
    await this.session.join({ name });
    await this.picture(Date.now());
    return performance.now() - began;
  },

  /** Wait for a picture that was painted after a moment. */
  async picture(since) {
    const video = document.querySelector("#video");
    const context = new OffscreenCanvas(WIDTH, HEIGHT).getContext("2d", { willReadFrequently: true });
    for (;;) {
      await new Promise((resolve) => video.requestVideoFrameCallback(resolve));
      context.drawImage(video, 0, 0, WIDTH, HEIGHT);
      const clock = read(context);
      if (clock !== null && (clock.time - since) << 0 >= 0) return;
    }
  },

  press() {
    this.session.setInput(BUTTONS.up, 1);
    this.session.setInput(BUTTONS.up, 0);
  },
};
