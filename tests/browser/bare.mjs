/** Bundles and serves the bare client, from an origin that is not the daemon's: as emulator pages often are. */

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";

import { ROOT, require } from "./harness.mjs";

const esbuild = require("esbuild");
const here = fileURLToPath(new URL("page/", import.meta.url));

/** @returns {Promise<string>} the page's address */
export async function serveBarePage(cleanup) {
  const bundle = await esbuild.build({
    entryPoints: [`${here}bare.mjs`],
    bundle: true,
    format: "esm",
    target: "es2022",
    write: false,
    nodePaths: [`${ROOT}client/node_modules`],
  });
  const files = new Map([
    ["/", ["text/html; charset=utf-8", await readFile(`${here}index.html`)]],
    ["/bare.js", ["text/javascript; charset=utf-8", bundle.outputFiles[0].contents]],
  ]);
  const server = createServer((request, response) => {
    const [type, body] = files.get(request.url) ?? ["text/plain", null];
    response.writeHead(body === null ? 404 : 200, { "content-type": type });
    response.end(body ?? "not found");
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanup.add(
    () =>
      new Promise((resolve) => {
        server.close(resolve);
        server.closeAllConnections();
      }),
  );
  return `http://127.0.0.1:${server.address().port}/`;
}
