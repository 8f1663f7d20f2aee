/**
 * How long a host takes from a cold start to 2.5 Mbit/s through our daemon. By hand: `node ramp.mjs [ROUNDS]`.
 *
 * The picture is noise, which no encoder makes small, so that what is sent is what the browser thinks the line carries.
 */

import { serveBarePage } from "./bare.mjs";
import { noFirefox, startFirefox } from "./firefox.mjs";
import { Cleanup, mintToken, openPage, startBrowser, startDaemon } from "./harness.mjs";

const TARGET = 2_500_000;
/** A browser that aims at the target stays a little below: reached is this share. */
const REACHED = 0.95;
const DURATION = 15_000;
const rounds = Number(process.argv[2] ?? 3);

/** In the page: host noise instead of the clock, and watch the bytes that go out from the first one on. */
async function ramp({ url, token, room, target, duration }) {
  const { bare } = window;
  // Small, so that encoding it takes little time and sending it does not: it is random enough for any rate.
  const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 180 });
  const context = canvas.getContext("2d");
  const noise = Array.from({ length: 16 }, () => {
    const image = context.createImageData(canvas.width, canvas.height);
    for (let from = 0; from < image.data.length; from += 65_536)
      crypto.getRandomValues(image.data.subarray(from, Math.min(from + 65_536, image.data.length)));
    for (let alpha = 3; alpha < image.data.length; alpha += 4) image.data[alpha] = 255;
    return image;
  });
  let frame = 0;
  setInterval(() => context.putImageData(noise[frame++ % noise.length], 0, 0), 1_000 / 30);
  document.getElementById("canvas").captureStream = (rate) => canvas.captureStream(rate);
  await bare.connect({ url, token });
  void bare.host(room, { codec: "VP8", maxBitrate: target });
  while (!bare.producers.video) await new Promise((resolve) => setTimeout(resolve, 5));
  const sender = bare.producers.video.rtpSender;
  const samples = [];
  const began = performance.now();
  while (performance.now() - began < duration) {
    const rows = [...(await sender.getStats()).values()];
    const sum = (name) => rows.reduce((total, row) => total + (row[name] ?? 0), 0);
    const outbound = rows.filter(({ type }) => type === "outbound-rtp");
    samples.push({
      at: performance.now(),
      bytes: outbound.reduce((total, row) => total + row.bytesSent + (row.headerBytesSent ?? 0), 0),
      estimate: sum("availableOutgoingBitrate"),
    });
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  return samples;
}

/** Bit/s between neighbouring samples, from the first that has sent something. */
function rates(samples) {
  const first = samples.findIndex(({ bytes }) => bytes > 0);
  const start = samples[Math.max(first - 1, 0)].at;
  return samples.slice(Math.max(first, 1)).map((sample, index, rest) => {
    const before = index === 0 ? samples[Math.max(first, 1) - 1] : rest[index - 1];
    return {
      seconds: (sample.at - start) / 1_000,
      rate: ((sample.bytes - before.bytes) * 8_000) / (sample.at - before.at),
      estimate: sample.estimate,
    };
  });
}

const cleanup = new Cleanup();
try {
  const daemon = await startDaemon(cleanup);
  const page = await serveBarePage(cleanup);
  const browsers = { Chromium: await startBrowser(cleanup) };
  const missing = noFirefox();
  if (missing) console.log(`Firefox is left out: ${missing}`);
  else browsers.Firefox = await startFirefox(cleanup);
  for (const [name, browser] of Object.entries(browsers))
    for (let round = 1; round <= rounds; round += 1) {
      const host = await openPage(browser, page, { name });
      await host.page.waitForFunction(() => window.bare !== undefined);
      const { token } = await mintToken(daemon.url, name);
      const room = `${name} ${round}`;
      const samples = await host.page.evaluate(ramp, {
        url: daemon.url,
        token,
        room,
        target: TARGET,
        duration: DURATION,
      });
      await host.context.close();
      const curve = rates(samples);
      // Two in a row: a burst of one key frame is not a rate.
      const reached = curve.find(
        ({ rate }, index) => rate >= REACHED * TARGET && (curve[index + 1]?.rate ?? 0) >= REACHED * TARGET,
      );
      console.log(`${name}, round ${round}: ${reached ? `${reached.seconds.toFixed(1)} s` : "not reached"}`);
      const column = (value) => String(Math.round(value / 1_000)).padStart(5);
      console.log(
        `   at s  ${curve
          .slice(0, 30)
          .map(({ seconds }) => seconds.toFixed(1).padStart(5))
          .join("")}`,
      );
      console.log(
        `   kbit/s${curve
          .slice(0, 30)
          .map(({ rate }) => column(rate))
          .join("")}`,
      );
      console.log(
        `   est.  ${curve
          .slice(0, 30)
          .map(({ estimate }) => column(estimate))
          .join("")}`,
      );
    }
} finally {
  await cleanup.run();
}
