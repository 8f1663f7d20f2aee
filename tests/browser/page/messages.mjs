/** Numbered binary messages whose contents follow from their number, so that a change of any byte shows. */

const HEADER = 4;
const MIN_LENGTH = 8;
const MAX_LENGTH = 1_000;

function contents(number) {
  let state = (number * 2_654_435_761) >>> 0;
  const next = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state >>> 24;
  };
  const length = MIN_LENGTH + (((next() << 8) | next()) % (MAX_LENGTH - MIN_LENGTH));
  return Uint8Array.from({ length }, next);
}

export function message(number) {
  const body = contents(number);
  const bytes = new Uint8Array(HEADER + body.length);
  new DataView(bytes.buffer).setUint32(0, number);
  bytes.set(body, HEADER);
  return bytes;
}

/** The number of an unchanged message; -1 for anything else. */
export function numberOf(data) {
  if (!(data instanceof ArrayBuffer) || data.byteLength < HEADER) return -1;
  const number = new DataView(data).getUint32(0);
  const expected = message(number);
  const bytes = new Uint8Array(data);
  return bytes.length === expected.length && bytes.every((byte, index) => byte === expected[index])
    ? number
    : -1;
}
