"""Write dependency descriptors (AV1 RTP appendix A), from the grammar, apart from the code that reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sfu.rtp.dependency_descriptor import DecodeTargetIndication

_LETTERS = "-DSR"


@dataclass(slots=True, frozen=True)
class Template:
    """``indications`` in the letters of table A.1, one for each decode target."""

    spatial: int
    temporal: int
    indications: str
    frame_diffs: Sequence[int] = ()
    chain_diffs: Sequence[int] = ()


@dataclass(slots=True, frozen=True)
class Structure:
    templates: Sequence[Template]
    template_id_offset: int = 0
    protected_by: Sequence[int] = ()
    resolutions: Sequence[tuple[int, int]] = ()


def letters(indications: Iterable[DecodeTargetIndication]) -> str:
    return "".join(_LETTERS[indication] for indication in indications)


def write(
    template_id: int,
    number: int = 0,
    *,
    start: bool = True,
    end: bool = True,
    structure: Structure | None = None,
    active: str | None = None,
    indications: str | None = None,
    frame_diffs: Sequence[int] | None = None,
    chain_diffs: Sequence[int] | None = None,
) -> bytes:
    """One element. ``active`` is the mask in binary digits, the last for decode target 0."""
    bits = f"{start:b}{end:b}{template_id:06b}{number:016b}"
    extended = (structure, active, indications, frame_diffs, chain_diffs)
    if any(each is not None for each in extended):
        bits += "".join(str(int(each is not None)) for each in extended)
        bits += "" if structure is None else _structure(structure)
        bits += active or ""
        bits += _indications(indications or "")
        if frame_diffs is not None:
            bits += "".join(_sized(diff - 1) for diff in frame_diffs) + "00"
        bits += "".join(f"{diff:08b}" for diff in chain_diffs or ())
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


def _structure(structure: Structure) -> str:
    templates, chains = structure.templates, len(structure.templates[0].chain_diffs)
    targets = len(templates[0].indications)
    bits = f"{structure.template_id_offset:06b}{targets - 1:05b}"
    for template, following in zip(templates, [*templates[1:], None], strict=True):
        if following is None:
            bits += "11"
        elif following.spatial > template.spatial:
            bits += "10"
        else:
            bits += "01" if following.temporal > template.temporal else "00"
    bits += "".join(_indications(template.indications) for template in templates)
    for template in templates:
        bits += "".join(f"1{diff - 1:04b}" for diff in template.frame_diffs) + "0"
    bits += _non_symmetric(chains, targets + 1)
    if chains:
        bits += "".join(_non_symmetric(chain, chains) for chain in structure.protected_by)
        bits += "".join(f"{diff:04b}" for template in templates for diff in template.chain_diffs)
    bits += "1" if structure.resolutions else "0"
    return bits + "".join(f"{width - 1:016b}{height - 1:016b}" for width, height in structure.resolutions)


def _indications(each: str) -> str:
    return "".join(f"{_LETTERS.index(letter):02b}" for letter in each)


def _sized(value: int) -> str:
    """A frame's own difference: in as many times four bits as it takes, told in front."""
    nibbles = 1 if value < 16 else 2 if value < 256 else 3
    return f"{nibbles:02b}{value:0{4 * nibbles}b}"


def _non_symmetric(value: int, values: int) -> str:
    if values == 1:
        return ""
    width = values.bit_length()
    short = (1 << width) - values
    if value < short:
        return f"{value:0{width - 1}b}" if width > 1 else ""
    return f"{value + short:0{width}b}"
