/** Prints docs/protocols/inputs.md's table of ages: `npm run ages`. */

import { Random, ages, percentile, play } from "./lines.js";

const COUNT = 20_000;
const DELAY = 25;
const JITTER = 5;

console.log(
  `RTT ${2 * DELAY} ms and up to ${JITTER} ms of jitter each way, loss both ways, ${COUNT} changes; age in ms`,
);
console.log(
  "| changes | loss | sent as | median | p99 | p99.9 | most | never came | bytes a change | largest message |",
);
console.log("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
for (const [rate, interval] of [
  ["60 a second", 1_000 / 60],
  ["4 a second", 250],
] as const) {
  for (const loss of [0, 0.01, 0.05, 0.1]) {
    for (const way of ["single", "runs"] as const) {
      const line = { loss, delay: DELAY, jitter: JITTER };
      const played = play(way, COUNT, line, line, new Random(1), interval);
      const sorted = ages(played);
      const at = [0.5, 0.99, 0.999, 1].map((share) => percentile(sorted, share).toFixed(0));
      const never = COUNT - sorted.length;
      const cells = [
        rate,
        `${100 * loss} %`,
        way,
        ...at,
        never,
        (played.bytes / COUNT).toFixed(0),
        played.largest,
      ];
      console.log(`| ${cells.join(" | ")} |`);
    }
  }
}
