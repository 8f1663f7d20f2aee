"""JSON from the network: RFC 8259 to the letter, no NaN, no lone surrogates, bounded depth."""

from __future__ import annotations

from typing import Any

import msgspec


class BadJson(Exception):
    """Not JSON, or JSON of a kind that nobody sends in good faith."""


def parse_untrusted(data: bytes | str) -> Any:
    """The value. Nesting is bounded by the interpreter's recursion limit.

    :raises BadJson: the data are not one JSON value.
    """
    try:
        return msgspec.json.decode(data)
    except (ValueError, RecursionError):  # msgspec's own errors are ValueErrors, like those of UTF-8
        raise BadJson("not JSON") from None
