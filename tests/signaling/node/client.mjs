// Runs one scenario with the official client and prints what it saw as one line of JSON.
// usage: node client.mjs <url> <scenario> <package> <transports, comma-separated>

const [url, scenario, library, transports] = process.argv.slice(2);
const { io, Manager } = await import(library);

const EVENTS = 10000;
const options = { transports: transports.split(","), forceNew: true, auth: { token: "t" } };
const once = (emitter, name) => new Promise((resolve) => emitter.once(name, (...args) => resolve(args)));
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
let opened = null;
let progress = null;
const connect = async (extra = {}) => {
  const socket = io(url, { ...options, ...extra });
  socket.io.once("open", () => (opened = socket.io.engine.transport.name));
  await once(socket, "connect");
  return socket;
};

const upgraded = async ({ io: { engine } }) => {
  if (options.transports.length > 1 && engine.transport.name !== "websocket") await once(engine, "upgrade");
};

const scenarios = {
  // Connect, an event with every kind of JSON, an acknowledgement, binary both ways, leave.
  async basics() {
    const socket = await connect();
    const value = [null, true, 1.5, "\u00e9\u2028\ud83d\ude00", { a: [{}], __proto__: null }];
    const echoed = once(socket, "echo");
    const ack = await socket.emitWithAck("echo", ...value);
    const bytes = new Uint8Array([0, 30, 255]);
    const binary = once(socket, "binary");
    socket.emit("binary", { bytes }, bytes);
    const [object, plain] = await binary;
    const result = {
      id: socket.id,
      first: opened,
      ack,
      echoed: await echoed,
      binary: [[...new Uint8Array(object.bytes)], [...new Uint8Array(plain)]],
      value,
    };
    await upgraded(socket);
    result.last = socket.io.engine.transport.name;
    socket.disconnect();
    return result;
  },

  // Events both ways, every seventh with binary, while the transport is upgraded underneath.
  async order() {
    const socket = await connect();
    let sent = 0;
    let received = 0;
    let upgradedAt = null;
    let wrong = null;
    socket.io.engine.once("upgrade", () => (upgradedAt = [sent, received]));
    progress = () => ({ sent, received, wrong, upgradedAt, state: socket.connected });
    const done = new Promise((resolve) => {
      socket.on("echo", (number, ...bytes) => {
        const expected = received % 7 ? [] : [received % 256];
        const got = bytes.map((data) => new Uint8Array(data)[0]);
        if (wrong === null && (number !== received || String(got) !== String(expected))) wrong = [received, number, got];
        if (++received === EVENTS) resolve();
      });
    });
    const acks = [];
    while (sent < EVENTS) {
      for (let burst = 0; burst < 50; burst++) {
        const number = sent++;
        const args = number % 7 ? [number] : [number, new Uint8Array([number % 256])];
        if (number % 100) socket.emit("echo", ...args);
        else socket.emit("echo", ...args, (answer) => acks.push(answer));
      }
      await sleep(1);
    }
    await done;
    socket.disconnect();
    const acksInOrder = acks.every((answer, index) => answer === index * 100) && acks.length === EVENTS / 100;
    return { received, wrong, upgradedAt, acksInOrder, last: socket.io.engine.transport.name };
  },

  // Everything emitted before the connection stands, so that it goes out in as few packets as possible.
  async burst() {
    const socket = io(url, options);
    let received = 0;
    let wrong = 0;
    const done = new Promise((resolve) => {
      socket.on("echo", (number) => {
        if (number !== received) wrong++;
        if (++received === EVENTS) resolve();
      });
    });
    for (let number = 0; number < EVENTS; number++) socket.emit("echo", number);
    await done;
    socket.disconnect();
    return { received, wrong };
  },

  async refused() {
    const socket = io(url, { ...options, auth: { refuse: "unauthorized" } });
    const [error] = await once(socket, "connect_error");
    await sleep(100);
    const result = { message: error.message, data: error.data ?? null, active: socket.active };
    socket.disconnect();
    return result;
  },

  async namespace() {
    const socket = io(url + "/other", options);
    const [error] = await once(socket, "connect_error");
    socket.disconnect();
    return { message: error.message };
  },

  // Two namespaces over one connection, and one that is refused.
  async namespaces() {
    const manager = new Manager(url, { transports: options.transports });
    const main = manager.socket("/", { auth: { of: "main" } });
    const admin = manager.socket("/admin", { auth: { of: "admin" } });
    const other = manager.socket("/other");
    const [[refusal]] = await Promise.all([once(other, "connect_error"), once(main, "connect"), once(admin, "connect")]);
    other.disconnect();
    const numbers = { main: [], admin: [] };
    main.on("echo", (value) => typeof value === "number" && numbers.main.push(value));
    admin.on("echo", (value) => typeof value === "number" && numbers.admin.push(value));
    for (let number = 0; number < 500; number++) {
      main.emit("echo", number);
      admin.emit("echo", -number, new Uint8Array(10));
    }
    const acks = await Promise.all([main.emitWithAck("echo", "m"), admin.emitWithAck("echo", "a")]);
    await upgraded(main);
    admin.disconnect();
    const alone = await main.emitWithAck("echo", "alone");
    const back = once(admin, "connect");
    admin.connect();
    await back;
    const again = await admin.emitWithAck("echo", "again");
    const ids = [main.id, admin.id, manager.engine.id];
    main.disconnect();
    const open = manager.engine.readyState;
    admin.disconnect();
    return { refusal: refusal.message, numbers, acks, alone, again, different: new Set(ids).size, open };
  },

  // The query of an address goes to the handshake, not into the namespace.
  async query() {
    const socket = io(url + "/admin?token=in%20the%20query", options);
    await once(socket, "connect");
    const ack = await socket.emitWithAck("echo", 1);
    socket.disconnect();
    return { ack };
  },

  // Acknowledgements both ways, with binary, and those that never come.
  async acks() {
    const socket = await connect();
    const bytes = (data) => [...new Uint8Array(data)];
    socket.on("ask", (number, data, answer) => answer(number, { x: data }));
    socket.on("ask without data", (answer) => answer());
    const binary = await socket.emitWithAck("echo", new Uint8Array([1, 2]));
    const asked = await socket.emitWithAck("ask me", "ask", 7, new Uint8Array([3, 4]));
    const empty = await socket.emitWithAck("ask me", "ask without data");
    const nobody = await socket.emitWithAck("ask me", "nobody listens");
    let silence = null;
    await socket.timeout(200).emitWithAck("silence").catch((error) => (silence = error.message));
    const many = await Promise.all([...Array(100).keys()].map((number) => socket.emitWithAck("echo", number)));
    await upgraded(socket);
    const after = await socket.emitWithAck("ask me", "ask", 8, new Uint8Array([5]));
    socket.disconnect();
    return {
      binary: bytes(binary),
      asked: [asked[0], bytes(asked[1].x)],
      empty,
      nobody,
      silence,
      many: many.every((answer, number) => answer === number),
      after: [after[0], bytes(after[1].x)],
    };
  },

  // The server stops and another one takes its place.
  async restart() {
    const socket = await connect({ reconnectionDelay: 10, reconnectionDelayMax: 20 });
    const first = socket.id;
    const reasons = [];
    socket.on("disconnect", (reason) => reasons.push(reason));
    for (let turn = 0; turn < 2; turn++) {
      await upgraded(socket);
      const back = once(socket, "connect");
      socket.emit("shutdown");
      await back;
    }
    const ack = await socket.emitWithAck("echo", 1);
    const result = { reasons: [...reasons], different: socket.id !== first, ack };
    socket.disconnect();
    return result;
  },

  // The transport breaks; the client comes back as somebody new.
  async reconnect() {
    const socket = await connect({ reconnectionDelay: 10, reconnectionDelayMax: 20 });
    const ids = [socket.id];
    const reasons = [];
    socket.on("disconnect", (reason) => reasons.push(reason));
    for (let turn = 0; turn < 3; turn++) {
      const back = once(socket, "connect");
      socket.io.engine.close();
      await back;
      ids.push(socket.id);
    }
    const ack = await socket.emitWithAck("echo", 1);
    socket.disconnect();
    return { different: new Set(ids).size, reasons, ack };
  },

  // The server sends the client away: no reconnection.
  async kicked() {
    const socket = await connect();
    const disconnected = once(socket, "disconnect");
    socket.emit("kick");
    const [reason] = await disconnected;
    await sleep(100);
    return { reason, active: socket.active };
  },

  // Leave the namespace and enter it again, several times.
  async again() {
    const socket = await connect();
    const ids = [];
    for (let turn = 0; turn < 3; turn++) {
      socket.disconnect().connect();
      await once(socket, "connect");
      ids.push(socket.id);
    }
    socket.disconnect();
    return { different: new Set(ids).size };
  },

  // Stay for a few heartbeats.
  async heartbeat() {
    const socket = await connect();
    let pings = 0;
    socket.io.on("ping", () => pings++);
    const reasons = [];
    socket.on("disconnect", (reason) => reasons.push(reason));
    await sleep(1500);
    const ack = await socket.emitWithAck("echo", 1);
    const before = [...reasons];
    socket.disconnect();
    return { pings, before, ack };
  },

  // The server shuts down.
  async shutdown() {
    const socket = await connect({ reconnection: false });
    await upgraded(socket);
    const heard = [];
    socket.on("last words", (word) => heard.push(word));
    const disconnected = once(socket, "disconnect");
    socket.emit("shutdown");
    const [reason] = await disconnected;
    return { reason, heard };
  },
};

const failed = setTimeout(() => {
  console.error("scenario takes too long", progress && progress());
  process.exit(1);
}, 40000);
const result = await scenarios[scenario]();
clearTimeout(failed);
await sleep(100); // for what disconnect() still has to send
console.log(JSON.stringify(result));
process.exit(0);
