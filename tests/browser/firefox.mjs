/**
 * Debian's Firefox, headless, over WebDriver BiDi: the protocol that Firefox speaks without a driver or a patch.
 *
 * What comes back has the few methods of a Playwright browser that {@link openPage} and the suites use, so that both
 * browsers are used in the same way.
 *
 * @see https://www.w3.org/TR/webdriver-bidi/
 */

import { spawn } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

import { require, until } from "./harness.mjs";

const { WebSocket } = require("ws");

const START_TIMEOUT = 30_000;
const STOP_TIMEOUT = 5_000;
const COMMAND_TIMEOUT = 60_000;
const ADDRESS = /WebDriver BiDi listening on (ws:\/\/\S+)/;

/** On top of those that Firefox sets by itself when it is driven: no updates, no telemetry, no first run. */
const PREFERENCES = {
  "media.peerconnection.ice.loopback": true,
  "media.peerconnection.ice.obfuscate_host_addresses": false,
  // Only a page that may use the microphone gets to use all addresses, that of loopback among them.
  "permissions.default.microphone": 1,
  "media.autoplay.default": 0,
  "media.autoplay.blocking_policy": 0,
  // Plug-ins would be downloaded.
  "media.gmp-manager.updateEnabled": false,
  "media.gmp-manager.url": "data:,",
  // Its pages are not looked at, but must go on drawing.
  "dom.min_background_timeout_value": 4,
  "dom.timeout.enable_budget_timer_throttling": false,
  "widget.windows.window_occlusion_tracking.enabled": false,
};

const program = () => process.env.FIREFOX ?? "/usr/bin/firefox-esr";
const SOUND = "/usr/bin/pulseaudio";

/** Why there is no Firefox to test with, or null if there is. */
export function noFirefox() {
  const missing = [program(), SOUND].filter((path) => !existsSync(path));
  return missing.length > 0 ? `there is no ${missing.join(" and no ")}` : null;
}

/**
 * Start a sound card that nobody hears, with its files in a folder: without any, Firefox's Web Audio stands still.
 *
 * @returns {Promise<string>} what PULSE_SERVER must be
 */
async function startSound(cleanup, folder) {
  const modules = ["module-null-sink", "module-native-protocol-unix"].flatMap((name) => ["--load", name]);
  const child = spawn(
    SOUND,
    ["-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1", "--disable-shm=yes", ...modules],
    { env: { ...process.env, HOME: folder, XDG_RUNTIME_DIR: folder }, stdio: "ignore" },
  );
  const exited = once(child, "exit");
  cleanup.add(async () => {
    child.kill("SIGTERM");
    await exited;
  });
  const socket = join(folder, "pulse/native");
  await until("the sound server listens", () => existsSync(socket), START_TIMEOUT);
  return `unix:${socket}`;
}

/** Start Firefox with a profile of its own. */
export async function startFirefox(cleanup) {
  const profile = await mkdtemp(join(tmpdir(), "trio-sfu-firefox-"));
  cleanup.add(() => rm(profile, { recursive: true, force: true, maxRetries: 5 }));
  const preferences = Object.entries(PREFERENCES).map(
    ([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});\n`,
  );
  await writeFile(join(profile, "user.js"), preferences.join(""));
  const sound = await startSound(cleanup, profile);
  const child = spawn(
    program(),
    ["--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0", "about:blank"],
    {
      env: { ...process.env, HOME: profile, TMPDIR: profile, PULSE_SERVER: sound },
      stdio: ["ignore", "ignore", "pipe"],
    },
  );
  const exited = once(child, "exit");
  cleanup.add(async () => {
    const ended = await Promise.race([exited, sleep(STOP_TIMEOUT, null, { ref: false })]);
    if (ended !== null) return;
    child.kill("SIGKILL");
    await exited;
    throw new Error(`Firefox did not stop within ${STOP_TIMEOUT} ms`);
  });
  const lines = [];
  let address = null;
  createInterface({ input: child.stderr }).on("line", (line) => {
    address ??= ADDRESS.exec(line)?.[1] ?? null;
    if (address === null) lines.push(line);
  });
  const connection = await until("Firefox listens", () => address, START_TIMEOUT)
    .then(() => Connection.open(`${address}/session`))
    .catch((error) => {
      child.kill("SIGKILL");
      throw new Error(`${error.message}\n${lines.join("\n")}`);
    });
  const browser = await Browser.start(connection);
  cleanup.add(() => browser.close());
  return browser;
}

/** Commands with their results, and events, on one WebSocket. */
class Connection extends EventEmitter {
  #socket;
  #last = 0;
  #waiting = new Map();

  static async open(url) {
    const socket = new WebSocket(url);
    await once(socket, "open");
    return new Connection(socket);
  }

  constructor(socket) {
    super();
    this.setMaxListeners(0); // one for each page
    this.#socket = socket;
    socket.on("message", (text) => this.#take(JSON.parse(text)));
    socket.on("close", () => {
      for (const { reject } of this.#waiting.values()) reject(new Error("Firefox is gone"));
      this.#waiting.clear();
    });
  }

  #take(message) {
    if (message.type === "event") {
      this.emit(message.method, message.params);
      return;
    }
    const waiting = this.#waiting.get(message.id);
    if (waiting === undefined) return;
    this.#waiting.delete(message.id);
    clearTimeout(waiting.timer);
    if (message.type === "success") waiting.resolve(message.result);
    else waiting.reject(new Error(`${waiting.method}: ${message.error}: ${message.message}`));
  }

  send(method, params = {}) {
    this.#last += 1;
    const id = this.#last;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new Error(`${method}: no answer`));
      }, COMMAND_TIMEOUT);
      this.#waiting.set(id, { method, resolve, reject, timer });
      this.#socket.send(JSON.stringify({ id, method, params }));
    });
  }
}

class Browser {
  #connection;
  #version;

  static async start(connection) {
    const { capabilities } = await connection.send("session.new", { capabilities: {} });
    await connection.send("session.subscribe", { events: ["log.entryAdded"] });
    return new Browser(connection, capabilities.browserVersion);
  }

  constructor(connection, version) {
    this.#connection = connection;
    this.#version = version;
  }

  version() {
    return this.#version;
  }

  async newContext({ viewport = null } = {}) {
    const { userContext } = await this.#connection.send("browser.createUserContext");
    return new Context(this.#connection, userContext, viewport);
  }

  async close() {
    await this.#connection.send("browser.close");
  }
}

/** Pages that share cookies among themselves only. */
class Context {
  #connection;
  #id;
  #viewport;

  constructor(connection, id, viewport) {
    this.#connection = connection;
    this.#id = id;
    this.#viewport = viewport;
  }

  async addInitScript(script) {
    await this.#connection.send("script.addPreloadScript", {
      functionDeclaration: String(script),
      userContexts: [this.#id],
    });
  }

  async newPage() {
    // A window each: the tab in front draws, those behind it do not.
    const { context } = await this.#connection.send("browsingContext.create", {
      type: "window",
      userContext: this.#id,
    });
    if (this.#viewport !== null)
      await this.#connection.send("browsingContext.setViewport", { context, viewport: this.#viewport });
    return new Page(this.#connection, context);
  }

  async close() {
    await this.#connection.send("browser.removeUserContext", { userContext: this.#id });
  }
}

/** Emits `console` and `pageerror`, as a Playwright page does. */
class Page extends EventEmitter {
  #connection;
  #context;

  constructor(connection, context) {
    super();
    this.#connection = connection;
    this.#context = context;
    connection.on("log.entryAdded", (entry) => {
      if (entry.source.context === context) this.#log(entry);
    });
  }

  #log({ type, level, text }) {
    if (type === "javascript" && level === "error") this.emit("pageerror", new Error(text));
    else this.emit("console", { type: () => (level === "warn" ? "warning" : level), text: () => text });
  }

  async goto(url) {
    await this.#connection.send("browsingContext.navigate", {
      context: this.#context,
      url,
      wait: "complete",
    });
  }

  /** Call a function in the page with one argument, and wait for what it returns. */
  async evaluate(work, argument = undefined) {
    const { type, result, exceptionDetails } = await this.#connection.send("script.callFunction", {
      functionDeclaration: String(work),
      arguments: [toRemote(argument)],
      target: { context: this.#context },
      awaitPromise: true,
    });
    if (type === "exception") throw new Error(exceptionDetails.text);
    return fromRemote(result);
  }

  async waitForFunction(check) {
    await until(`${check} holds`, () => this.evaluate(check));
  }
}

const SPECIAL_NUMBERS = { NaN, "-0": -0, Infinity, "-Infinity": -Infinity };

/** A value as the protocol writes it. */
function toRemote(value) {
  if (value === undefined || value === null) return { type: String(value) };
  if (Array.isArray(value)) return { type: "array", value: value.map(toRemote) };
  if (typeof value === "object")
    return { type: "object", value: Object.entries(value).map(([key, each]) => [key, toRemote(each)]) };
  return { type: typeof value, value };
}

function fromRemote({ type, value }) {
  switch (type) {
    case "undefined":
      return undefined;
    case "null":
      return null;
    case "number":
      return typeof value === "string" ? SPECIAL_NUMBERS[value] : value;
    case "string":
    case "boolean":
      return value;
    case "array":
      return value.map(fromRemote);
    case "object":
      return Object.fromEntries(value.map(([key, each]) => [key, fromRemote(each)]));
    default:
      throw new Error(`a page returned a ${type}, which has no value here`);
  }
}
