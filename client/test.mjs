// Bundles test/*.test.ts into build/ and runs them with node:test.

import { spawnSync } from "node:child_process";
import { readdir, rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import * as esbuild from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const tests = (await readdir(`${here}test`)).filter((name) => name.endsWith(".test.ts"));
await rm(`${here}build`, { recursive: true, force: true });
await esbuild.build({
  absWorkingDir: here,
  entryPoints: tests.map((name) => `test/${name}`),
  bundle: true,
  packages: "external",
  platform: "node",
  format: "esm",
  outdir: "build",
  outExtension: { ".js": ".mjs" },
  sourcemap: "inline",
});
const files = tests.map((name) => `build/${name.replace(/\.ts$/, ".mjs")}`);
const run = spawnSync(process.execPath, ["--enable-source-maps", "--test", ...files], {
  cwd: here,
  stdio: "inherit",
});
process.exitCode = run.status ?? 1;
