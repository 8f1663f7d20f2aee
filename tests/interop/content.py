"""What the peers of the interop tests send each other, so that the other end can tell exactly what arrived.

The picture carries its frame number in blocks of black and white, the sound is a tone, and data messages
follow from a seed.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from typing import Any

WIDTH, HEIGHT = 160, 120
GRID = 4
"""Blocks each way; each is a bit."""
NUMBER_BITS, CHECK_BITS = 12, 4
DARK, BRIGHT = 40, 210
TONE = 440.0
"""Hz."""
SAMPLE_RATE = 48_000


def check_bits(number: int) -> int:
    """Four bits that a wrongly read number does not have."""
    return (number ^ number >> 4 ^ number >> 8 ^ 0b1010) & 0xF


def paint(number: int) -> list[bytes]:
    """The rows of a picture's brightness."""
    bits = (number % (1 << NUMBER_BITS)) << CHECK_BITS | check_bits(number % (1 << NUMBER_BITS))
    rows = []
    for line in range(GRID):
        shades = (BRIGHT if bits >> (line * GRID + column) & 1 else DARK for column in range(GRID))
        row = b"".join(bytes([shade]) * (WIDTH // GRID) for shade in shades)
        rows += [row] * (HEIGHT // GRID)
    return rows


def read_number(plane: bytes, line_size: int) -> int | None:
    """The number in a picture, from the middle of each block; None if it cannot be one."""
    bits = 0
    for line in range(GRID):
        y = (2 * line + 1) * HEIGHT // (2 * GRID)
        for column in range(GRID):
            x = (2 * column + 1) * WIDTH // (2 * GRID)
            middle = plane[y * line_size + x - 2 : y * line_size + x + 2]
            if sum(middle) / len(middle) > (DARK + BRIGHT) / 2:
                bits |= 1 << (line * GRID + column)
    number = bits >> CHECK_BITS
    return number if bits & 0xF == check_bits(number) else None


def frequency(samples: Sequence[int]) -> float:
    """Of a pure tone, in Hz: upward zero crossings over the time between the first and the last."""
    crossings = [i for i in range(1, len(samples)) if samples[i - 1] < 0 <= samples[i]]
    if len(crossings) < 2:
        return 0.0
    return (len(crossings) - 1) * SAMPLE_RATE / (crossings[-1] - crossings[0])


def messages(seed: int, count: int) -> Iterator[str | bytes]:
    """What a data channel sends: text and binary in turn, of sizes that matter to SCTP."""
    chance = random.Random(seed)
    sizes = (0, 1, 100, 1000, 1172, 1173, 5000)
    for i in range(count):
        size = 60_000 if i == count // 2 else chance.choice(sizes)
        data = chance.randbytes(size)
        yield data if i % 2 else data.hex() + "é"[: size % 2]


def digest(message: str | bytes) -> list[Any]:
    """How a received message is reported: kind, length, hash."""
    data = message.encode() if isinstance(message, str) else message
    kind = "text" if isinstance(message, str) else "binary"
    return [kind, len(data), hashlib.sha256(data).hexdigest()[:16]]
