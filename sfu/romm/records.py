"""Room records as JSON (``romm-api.md`` 1.6 and 7.2.8): six standard fields, ``updatedAt``, and extras."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from sfu.romm.port import RoomRecord

STANDARD_FIELDS: Final = ("room_name", "current", "max", "hasPassword", "nodeId", "url")
"""What every RomM keeps and lists."""
EXTRA_FIELDS: Final = (
    "netplay_mode",
    "room_phase",
    "spectator_mode",
    "game_id",
    "rom_hash",
    "rom_name",
    "core_type",
    "coreId",
    "coreVersion",
    "system",
    "platform",
    "systemType",
    "sessionid",
    "owner_name",
    "dialect",
    "sync_config",
    "metadata",
)
"""What our RomM side keeps as well, the most useful first."""
MAX_EXTRAS_BYTES: Final = 8192
"""Extras of one record, as JSON."""
MAX_COUNT: Final = 2**53
"""Largest ``current`` and ``max``, either sign: what a browser still counts exactly."""


class BadRecord(Exception):
    """A value that is not a room record."""


def standard_fields(record: RoomRecord) -> dict[str, Any]:
    return {
        "room_name": record.room_name,
        "current": record.current,
        "max": record.max,
        "hasPassword": record.has_password,
        "nodeId": record.node_id,
        "url": record.url,
    }


def to_json(record: RoomRecord) -> dict[str, Any]:
    """The standard fields, then the extras; an extra never hides a standard field."""
    fields = standard_fields(record)
    return fields | {key: value for key, value in record.extras.items() if key not in fields}


def from_json_untrusted(value: Any, *, name: str | None = None) -> RoomRecord:
    """Read a record from RomM's answer or from a store.

    :param name: stands in for a missing ``room_name``.
    :raises BadRecord: a field has the wrong type, or there is no name.
    """
    if not isinstance(value, dict):
        raise BadRecord("not an object")
    room_name = value.get("room_name", name)
    if not isinstance(room_name, str):
        raise BadRecord("room_name")
    has_password = value.get("hasPassword", False)
    if not isinstance(has_password, bool):
        raise BadRecord("hasPassword")
    return RoomRecord(
        room_name=room_name,
        current=_count_untrusted(value, "current"),
        max=_count_untrusted(value, "max"),
        has_password=has_password,
        node_id=_text_untrusted(value, "nodeId"),
        url=_text_untrusted(value, "url"),
        extras={
            key: extra
            for key, extra in value.items()
            if key not in STANDARD_FIELDS and key != "updatedAt" and extra is not None
        },
    )


def _count_untrusted(value: dict[str, Any], key: str) -> int:
    count = value.get(key, 0)
    if not isinstance(count, int) or isinstance(count, bool) or abs(count) > MAX_COUNT:
        raise BadRecord(key)
    return count


def _text_untrusted(value: dict[str, Any], key: str) -> str | None:
    text = value.get(key)
    if text is not None and not isinstance(text, str):
        raise BadRecord(key)
    return text


def kept_extras(extras: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Split extras into those that are stored and the names of known ones that did not fit.

    Unknown ones and nulls vanish silently, as with RomM. Fields are taken in the order of
    :data:`EXTRA_FIELDS` while they fit into :data:`MAX_EXTRAS_BYTES` together.
    """
    kept: dict[str, Any] = {}
    dropped = []
    room = MAX_EXTRAS_BYTES - len("{}")
    for key in EXTRA_FIELDS:
        value = extras.get(key)
        if value is None:
            continue
        size = _member_size(key, value)
        if size is None or size > room:
            dropped.append(key)
        else:
            room -= size
            kept[key] = value
    return kept, dropped


def _member_size(key: str, value: Any) -> int | None:
    """Bytes of ``"key":value,``, or None where that cannot be written as JSON."""
    try:
        return len(msgspec.json.encode(value)) + len(f'"{key}":,')
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
