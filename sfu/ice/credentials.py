"""Short-term credentials of an ICE session (RFC 8445 5.3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

CREDENTIAL_LENGTH: Final = 32
"""Characters in a username fragment and in a password: 165 bits each (RFC 8445 asks for 24 and 128)."""
CREDENTIAL_ALPHABET: Final = "0123456789abcdefghijklmnopqrstuvwxyz"

_RANDOM_SIZE: Final = 32


@dataclass(frozen=True, slots=True)
class IceCredentials:
    """What the peer needs in order to be let in."""

    username_fragment: str
    password: str = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return the ``iceParameters`` object of signaling."""
        return {"usernameFragment": self.username_fragment, "password": self.password, "iceLite": True}


def make_credentials(random_bytes: Callable[[int], bytes]) -> IceCredentials:
    """Draw fresh credentials."""
    return IceCredentials(_random_text(random_bytes), _random_text(random_bytes))


def _random_text(random_bytes: Callable[[int], bytes]) -> str:
    # 256 random bits for 165 wanted: the bias of taking digits by division is below 2**-90.
    number = int.from_bytes(random_bytes(_RANDOM_SIZE), "big")
    base = len(CREDENTIAL_ALPHABET)
    characters: list[str] = []
    for _ in range(CREDENTIAL_LENGTH):
        number, digit = divmod(number, base)
        characters.append(CREDENTIAL_ALPHABET[digit])
    return "".join(characters)
