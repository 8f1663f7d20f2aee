/**
 * A clock that survives video compression: time and frame number as black and white blocks, 44 bits in 4 rows.
 *
 *     32 bits  milliseconds since the epoch, modulo 2^32
 *      8 bits  frame number, modulo 256
 *      4 bits  checksum: the XOR of the ten nibbles before it, inverted
 */

export const WIDTH = 640;
export const HEIGHT = 360;
const COLUMNS = 11;
const ROWS = 4;
const BLOCK = 40;
const LEFT = (WIDTH - COLUMNS * BLOCK) / 2;
const TOP = 20;

function checksum(time, frame) {
  let sum = 0xf ^ (frame >>> 4) ^ (frame & 0xf);
  for (let shift = 0; shift < 32; shift += 4) sum ^= (time >>> shift) & 0xf;
  return sum;
}

function bitsOf(time, frame) {
  const bits = [];
  const push = (value, count) => {
    for (let bit = count - 1; bit >= 0; bit -= 1) bits.push((value >>> bit) & 1);
  };
  push(time, 32);
  push(frame, 8);
  push(checksum(time, frame), 4);
  return bits;
}

/** Paint the clock and something that moves, so that the encoder has work to do. */
export function paint(context, now, frame) {
  context.fillStyle = `hsl(${frame % 360} 60% 30%)`;
  context.fillRect(0, 0, WIDTH, HEIGHT);
  for (let ball = 0; ball < 8; ball += 1) {
    const angle = frame / 20 + ball;
    context.fillStyle = `hsl(${ball * 45} 80% 60%)`;
    context.beginPath();
    context.arc(WIDTH / 2 + Math.cos(angle) * 280, 270 + Math.sin(angle * 1.7) * 70, 18, 0, 2 * Math.PI);
    context.fill();
  }
  bitsOf(Math.floor(now) >>> 0, frame & 0xff).forEach((bit, index) => {
    context.fillStyle = bit ? "#fff" : "#000";
    context.fillRect(
      LEFT + (index % COLUMNS) * BLOCK,
      TOP + Math.floor(index / COLUMNS) * BLOCK,
      BLOCK,
      BLOCK,
    );
  });
}

/** Read the clock back, or null if the picture does not show one. */
export function read(context) {
  const { data, width } = context.getImageData(0, 0, WIDTH, HEIGHT);
  const bits = [];
  for (let index = 0; index < COLUMNS * ROWS; index += 1) {
    const x = LEFT + (index % COLUMNS) * BLOCK + BLOCK / 2;
    const y = TOP + Math.floor(index / COLUMNS) * BLOCK + BLOCK / 2;
    const at = (y * width + x) * 4;
    bits.push((data[at] + data[at + 1] + data[at + 2]) / 3 > 127 ? 1 : 0);
  }
  const number = (from, count) => bits.slice(from, from + count).reduce((value, bit) => value * 2 + bit, 0);
  const [time, frame, sum] = [number(0, 32), number(32, 8), number(40, 4)];
  return sum === checksum(time, frame) ? { time, frame } : null;
}
