/**
 * An impaired network between browsers and the daemon, on loopback: a process of its own, steered from here.
 *
 *     const relay = startRelay(cleanup);
 *     const leg = await relay.leg(daemon.ports.media); // one per user; its `ports` go into the user's candidates
 *     await leg.impair({ up: { loss: 0.05, delay: 0.025 }, down: { delay: 0.025 } });
 *
 * Parameters are those of line.mjs; those that are not given are unimpaired. For TCP an outage is a stall, and loss,
 * duplication and reordering have no meaning.
 */

import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";

const PROCESS = fileURLToPath(new URL("relay_process.mjs", import.meta.url));

export function startRelay(cleanup) {
  const child = fork(PROCESS);
  const waiting = new Map();
  let count = 0;
  const exited = new Promise((resolve) => child.once("exit", resolve));
  void exited.then((status) => {
    for (const { reject } of waiting.values()) reject(new Error(`the relay ended with ${status}`));
    waiting.clear();
  });
  child.on("message", ({ id, value, at, error }) => {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) resolve({ value, at });
    else reject(new Error(error));
  });
  cleanup.add(async () => {
    child.kill();
    await exited;
  });
  const call = (method, ...args) =>
    new Promise((resolve, reject) => {
      count += 1;
      waiting.set(count, { resolve, reject });
      child.send({ id: count, method, args });
    });
  return {
    /** One user's line to the daemon's media port. The seed decides what is lost. */
    async leg(target, seed = 1) {
      const { leg, ports } = (await call("open", target, seed)).value;
      return {
        ports,
        /** Change one or both directions; those not named stay. Returns when it took effect, in ms since the epoch. */
        impair: async (impairments) => (await call("impair", leg, impairments)).at,
        /** The client's packets come from other addresses from now on. Returns when that was. */
        rebind: async () => (await call("rebind", leg)).at,
        stats: async () => (await call("stats", leg)).value,
      };
    },
  };
}
