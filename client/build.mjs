// Bundles the page and the netplay module into sfu/page, where the daemon serves them from.
//
//   node build.mjs          one build
//   node build.mjs --watch  build again on every change, with source maps

import { cp, mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import * as esbuild from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const out = fileURLToPath(new URL("../sfu/page", import.meta.url));
const watch = process.argv.includes("--watch");
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
  sourcemap: watch,
  metafile: true,
  legalComments: "none", // licenses.txt has them all
  logLevel: watch ? "info" : "warning",
};

const builds = [
  { ...shared, entryPoints: { app: "src/page/main.ts" }, outdir: out, plugins: [netplayIsSeparate] },
  { ...shared, entryPoints: { netplay: "src/netplay/index.ts" }, outdir: out },
];

await rm(out, { recursive: true, force: true });
await mkdir(out, { recursive: true });
for (const file of files) await cp(`${here}src/page/${file}`, `${out}/${file}`);
if (watch) {
  for (const build of builds) await (await esbuild.context(build)).watch();
} else {
  const inputs = new Set();
  for (const build of builds) {
    const { metafile } = await esbuild.build(build);
    for (const input of Object.keys(metafile.inputs)) inputs.add(input);
  }
  await writeFile(`${out}/licenses.txt`, await licenses(inputs));
}

/** The licenses of all packages that files of the bundles come from: each asks to be passed on with the code. */
async function licenses(inputs) {
  const packages = new Set();
  for (const input of inputs) {
    const name = /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input)?.[1];
    if (name !== undefined) packages.add(name);
  }
  const texts = [];
  for (const name of [...packages].sort()) {
    const folder = `${here}node_modules/${name}`;
    const { version, license } = JSON.parse(await readFile(`${folder}/package.json`, "utf8"));
    const file = (await readdir(folder)).find((each) => /^licen[cs]e(\.|$)/i.test(each));
    const text = file === undefined ? "" : `\n${(await readFile(`${folder}/${file}`, "utf8")).trim()}\n`;
    texts.push(`${name} ${version}: ${license}\n${text}`);
  }
  return texts.join(`\n${"-".repeat(78)}\n\n`);
}
