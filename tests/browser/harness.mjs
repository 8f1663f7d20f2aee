/**
 * What both suites need: the daemon on ports of its own, headless Chromium, and a way to clean up whatever happens.
 *
 * Nothing is shared between runs: the ports are free ones, the browser's profile is new, and everything that was
 * started is stopped in the reverse order.
 */

import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { availableParallelism, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("../../", import.meta.url));
/** Packages come from client/node_modules, so that there is one lock file. */
export const require = createRequire(join(ROOT, "client/package.json"));

const { chromium } = require("playwright-core");

const CHROMIUM_FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--allow-loopback-in-peer-connection",
  "--disable-features=WebRtcHideLocalIpsWithMdns",
  "--disable-background-timer-throttling",
  "--disable-renderer-backgrounding",
  "--disable-backgrounding-occluded-windows",
  "--autoplay-policy=no-user-gesture-required",
];

/** Consecutive media ports kept free for the daemon's workers. */
const MEDIA_PORTS = 8;
const START_TIMEOUT = 20_000;
const STOP_TIMEOUT = 5_000;
const LOG_LINES = 200;

/** Things to undo, last first. */
export class Cleanup {
  #steps = [];

  add(step) {
    this.#steps.push(step);
  }

  async run() {
    const errors = [];
    while (this.#steps.length > 0) {
      try {
        await this.#steps.pop()();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw new AggregateError(errors, "cleaning up failed");
  }
}

/** Print how far a suite is, with the time since it began. */
export function progress(suite) {
  const began = performance.now();
  return (text) =>
    console.log(`  ${suite} ${((performance.now() - began) / 1_000).toFixed(1).padStart(5)} s  ${text}`);
}

/** Poll until `check` returns something truthy, and return it. */
export async function until(what, check, timeout = 10_000, interval = 50) {
  const deadline = performance.now() + timeout;
  for (;;) {
    const value = await check();
    if (value) return value;
    if (performance.now() > deadline) throw new Error(`waited ${timeout} ms in vain: ${what}`);
    await sleep(interval);
  }
}

/**
 * Start `trio-sfu serve --standalone` and wait until it answers. Without `ports` of an earlier daemon it gets new ones.
 *
 * @returns {Promise<{url: string, pid: number, ports: object, log: () => string, stop: () => Promise<void>}>}
 */
export async function startDaemon(cleanup, ports = undefined) {
  const program = process.env.TRIO_SFU ?? join(ROOT, ".venv/bin/trio-sfu");
  if (!existsSync(program)) throw new Error(`there is no ${program}: run ./dev setup-test first`);
  ports ??= { signaling: await freePort(), media: await freeMediaPorts() };
  const child = spawn(program, ["serve", "--standalone"], {
    cwd: ROOT,
    env: {
      ...process.env,
      PORT: String(ports.signaling),
      WEBRTC_PORT: String(ports.media),
      ANNOUNCED_IP: "127.0.0.1",
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const lines = [];
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8");
    stream.on("data", (text) => {
      lines.push(...text.split("\n").filter(Boolean));
      lines.splice(0, Math.max(lines.length - LOG_LINES, 0));
    });
  }
  const log = () => lines.join("\n");
  let ended = null;
  const exited = new Promise((resolve) => {
    child.once("exit", (code, signal) => {
      ended = signal ?? code;
      resolve();
    });
  });
  const stop = async () => {
    if (ended !== null) return;
    child.kill("SIGTERM");
    await Promise.race([exited, sleep(STOP_TIMEOUT, undefined, { ref: false })]);
    if (ended !== null) return;
    child.kill("SIGKILL");
    await exited;
    throw new Error(`the daemon did not stop within ${STOP_TIMEOUT} ms of SIGTERM\n${log()}`);
  };
  cleanup.add(stop);
  const url = `http://127.0.0.1:${ports.signaling}`;
  const answers = async () => {
    if (ended !== null) throw new Error(`the daemon ended with ${ended}`);
    return fetch(url).then(
      (response) => response.status < 500,
      () => false,
    );
  };
  try {
    await until("the daemon answers", answers, START_TIMEOUT);
  } catch (error) {
    throw new Error(`${error.message}\n${log()}`);
  }
  return { url, pid: child.pid, ports, log, stop };
}

/**
 * Start nginx with deploy/nginx/trio-sfu.conf: one address for the daemon and for whoever serves everything else.
 *
 * @param daemon address of the daemon
 * @param page address of the page, which takes RomM's place
 * @returns {Promise<string>} nginx's own address, an origin
 */
export async function startNginx(cleanup, daemon, page) {
  const folder = await mkdtemp(join(tmpdir(), "trio-sfu-nginx-"));
  cleanup.add(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));
  const host = (url) => new URL(url).host;
  const changes = [`127.0.0.1:3001=${host(daemon)}`, `127.0.0.1:8080=${host(page)}`];
  const child = spawn(
    join(ROOT, ".venv/bin/python"),
    ["-m", "tests.support.nginx", "deploy/nginx/trio-sfu.conf", ...changes],
    { cwd: ROOT, env: { ...process.env, TMPDIR: folder }, stdio: ["ignore", "pipe", "inherit"] },
  );
  const exited = new Promise((resolve) => child.once("exit", resolve));
  cleanup.add(async () => {
    child.kill("SIGTERM");
    await exited;
  });
  child.stdout.setEncoding("utf8");
  const [address] = await Promise.race([
    once(child.stdout, "data"),
    exited.then((status) => Promise.reject(new Error(`nginx did not start: status ${status}`))),
  ]);
  return address.trim();
}

/** A limit that holds on an idle machine, on this one as busy as it is. */
export const stretched = (limit) => limit * Math.max(1, loadavg()[0] / availableParallelism());

/** Process ids of the daemon's media workers. */
export async function workersOf({ pid }) {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8");
  return children.split(" ").filter(Boolean).map(Number);
}

/** Mint a token for a guest of this name; each call without a cookie is another guest. */
export async function mintToken(url, name) {
  const response = await fetch(`${url}/api/sfu/token`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ name, token_type: "read" }),
  });
  if (!response.ok) throw new Error(`no token for ${name}: ${response.status} ${await response.text()}`);
  return response.json();
}

/** Start Chromium with exactly the flags above, a profile of its own and nothing else. */
export async function startBrowser(cleanup) {
  const profile = await mkdtemp(join(tmpdir(), "trio-sfu-chromium-"));
  cleanup.add(() => rm(profile, { recursive: true, force: true, maxRetries: 5 }));
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    ignoreDefaultArgs: true,
    args: [...CHROMIUM_FLAGS, `--user-data-dir=${profile}`, "--remote-debugging-pipe", "about:blank"],
  });
  cleanup.add(() => browser.close());
  return browser;
}

/**
 * Open a page in a context of its own. What it logs as an error is remembered, and shown if the test fails.
 *
 * @param prepare runs in the page before its own scripts
 */
export async function openPage(
  browser,
  url,
  { name, viewport = { width: 1280, height: 800 }, prepare = undefined },
) {
  const context = await browser.newContext({ viewport });
  if (prepare !== undefined) await context.addInitScript(prepare);
  const page = await context.newPage();
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(`${name}: ${error.stack ?? error.message}`));
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning")
      complaints.push(`${name}: ${message.text()}`);
  });
  await page.goto(url);
  return { page, context, name, complaints };
}

function listenOn(server, listen) {
  return new Promise((resolve) => {
    server.once("error", () => resolve(null));
    listen(() => resolve(server.address().port));
  });
}

async function tcpPort(port) {
  const server = createServer();
  const got = await listenOn(server, (done) => server.listen(port, "127.0.0.1", done));
  if (got !== null) await new Promise((resolve) => server.close(resolve));
  return got;
}

async function udpPort(port) {
  const socket = createSocket("udp4");
  const got = await listenOn(socket, (done) => socket.bind(port, "127.0.0.1", done));
  if (got !== null) await new Promise((resolve) => socket.close(resolve));
  return got;
}

const freePort = () => tcpPort(0);

async function freeMediaPorts() {
  for (let attempt = 0; attempt < 50; attempt += 1) {
    const base = 21_000 + Math.floor(Math.random() * 10_000);
    const ports = Array.from({ length: MEDIA_PORTS }, (_, index) => base + index);
    const free = await Promise.all(ports.flatMap((port) => [tcpPort(port), udpPort(port)]));
    if (free.every((port) => port !== null)) return base;
  }
  throw new Error("no free media ports");
}
