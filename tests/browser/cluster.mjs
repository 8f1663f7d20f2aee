/** Several nodes, RomM's side and nginx (tests/support/cluster.py), and a page of the netplay module at their front. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { ROOT, require } from "./harness.mjs";

const esbuild = require("esbuild");
const here = fileURLToPath(new URL("page/", import.meta.url));

/** The page as a web site has it: a script of its own, and netplay.js as it is built for others to import. */
async function buildPage(folder) {
  await esbuild.build({
    entryPoints: [`${here}nodes.mjs`],
    outfile: join(folder, "nodes.js"),
    bundle: true,
    format: "esm",
    target: "es2022",
    external: ["/netplay.js"],
    nodePaths: [`${ROOT}client/node_modules`],
  });
  await cp(`${here}nodes.html`, join(folder, "index.html"));
  await cp(`${ROOT}sfu/page/netplay.js`, join(folder, "netplay.js"));
}

/**
 * Start it all.
 *
 * @returns {Promise<{front: string, nodes: Record<string, string>, password: string,
 *   stop: (node: string) => Promise<void>}>} the addresses, by name of the node, and how to stop one with SIGTERM
 */
export async function startCluster(cleanup) {
  const folder = await mkdtemp(join(tmpdir(), "trio-sfu-page-"));
  cleanup.add(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));
  await buildPage(folder);
  const child = spawn(join(ROOT, ".venv/bin/python"), ["-m", "tests.support.cluster", folder], {
    cwd: ROOT,
    stdio: ["pipe", "pipe", "pipe"],
  });
  let log = "";
  child.stderr.setEncoding("utf8");
  child.stderr.on("data", (text) => (log += text));
  const exited = once(child, "exit").then(([status]) => status);
  cleanup.add(async () => {
    child.stdin.end();
    const status = await exited;
    if (status !== 0) throw new Error(`the cluster ended with status ${status}\n${log}`);
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const line = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error(`the cluster ended with status ${await exited}\n${log}`);
    return value;
  };
  const addresses = JSON.parse(await line());
  const stop = async (node) => {
    child.stdin.write(`${node}\n`);
    await line();
  };
  return { ...addresses, stop };
}
