// Bundles the page and the netplay module into sfu/page, where the daemon serves them from.
//
//   node build.mjs          one build
//   node build.mjs --watch  build again on every change

import { cp, mkdir, rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import * as esbuild from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const out = fileURLToPath(new URL("../sfu/page", import.meta.url));
const files = ["index.html", "style.css", "icon.svg"];

/** The page uses the same netplay.js that others import: it is not bundled into app.js a second time. */
const netplayIsSeparate = {
  name: "netplay-is-separate",
  setup(build) {
    build.onResolve({ filter: /\/netplay\/index\.js$/ }, () => ({ path: "./netplay.js", external: true }));
  },
};

const shared = {
  absWorkingDir: here,
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  sourcemap: true,
  legalComments: "linked",
  logLevel: "info",
};

const builds = [
  { ...shared, entryPoints: { app: "src/page/main.ts" }, outdir: out, plugins: [netplayIsSeparate] },
  { ...shared, entryPoints: { netplay: "src/netplay/index.ts" }, outdir: out },
];

await rm(out, { recursive: true, force: true });
await mkdir(out, { recursive: true });
for (const file of files) await cp(`${here}src/page/${file}`, `${out}/${file}`);
if (process.argv.includes("--watch")) {
  for (const build of builds) await (await esbuild.context(build)).watch();
} else {
  for (const build of builds) await esbuild.build(build);
}
