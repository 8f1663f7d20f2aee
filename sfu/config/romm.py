"""The settings of RomM's side as a service of its own, ``trio-sfu romm``."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field, SecretStr, model_validator

from sfu.config import parse
from sfu.config.parse import Network
from sfu.config.source import (
    READ_TOKEN_TTL,
    WRITE_TOKEN_TTL,
    LogLevel,
    Port,
    SettingsModel,
    setting,
    signing_key_problems,
    sources_of,
)
from sfu.iceservers import IceServer, ice_servers
from sfu.romm.proxy_identity import IDENTITY_HEADER


class RommSettings(SettingsModel):
    """The effective settings of RomM's side."""

    romm_sfu_internal_secret: SecretStr | None = setting(
        "ROMM_SFU_INTERNAL_SECRET",
        parse=parse.secret,
        secret=True,
        default=None,
        about="Secret shared with the nodes. Required.",
    )
    romm_auth_secret_key: SecretStr | None = setting(
        "ROMM_AUTH_SECRET_KEY",
        parse=parse.secret,
        secret=True,
        default=None,
        about="Key that signs tokens, the same for all services on one Redis. Required.",
    )
    redis_url: str | None = setting(
        "SFU_REDIS_URL",
        parse=parse.redis_url,
        flag="--redis",
        metavar="URL",
        default=None,
        default_text="in memory",
        about="Where write tokens and rooms are kept, so that several services can share them.",
    )
    http_listen_ip: str = setting(
        "HTTP_LISTEN_IP",
        parse=parse.address,
        flag="--host",
        metavar="ADDRESS",
        default="127.0.0.1",
        about="Address to listen on.",
    )
    port: Port = setting(
        "PORT", parse=parse.whole, flag="--port", default=3002, about="Port to listen on (HTTP)."
    )
    identity_header: str = setting(
        "SFU_IDENTITY_HEADER",
        parse=parse.header_name,
        flag="--identity-header",
        metavar="NAME",
        default=IDENTITY_HEADER,
        about="Header in which a trusted proxy names the user; it must replace what clients send.",
    )
    trusted_proxies: tuple[Network, ...] = setting(
        "SFU_TRUSTED_PROXIES",
        parse=parse.networks,
        flag="--trusted-proxy",
        metavar="NETWORK",
        many=True,
        default=(),
        about="Peers whose word on who a user is counts; with none, nobody gets a token.",
    )
    allowed_origins: tuple[str, ...] = setting(
        "SFU_ALLOWED_ORIGINS",
        parse=parse.origins,
        flag="--allowed-origin",
        metavar="ORIGIN",
        many=True,
        default=(),
        about="Pages of other hosts that may get tokens for their users, or *.",
    )
    read_token_ttl_seconds: int = setting(
        "SFU_READ_TOKEN_TTL_SECONDS",
        parse=parse.whole,
        flag="--read-token-ttl",
        metavar="SECONDS",
        **READ_TOKEN_TTL,
        about="Life of read tokens.",
    )
    write_token_ttl_seconds: int = setting(
        "SFU_WRITE_TOKEN_TTL_SECONDS",
        parse=parse.whole,
        flag="--write-token-ttl",
        metavar="SECONDS",
        **WRITE_TOKEN_TTL,
        about="Life of write tokens.",
    )
    allowlist_format: Literal["string", "hash"] = setting(
        "SFU_ALLOWLIST_FORMAT",
        parse=parse.allowlist_format,
        flag="--allowlist-format",
        default="string",
        about="How write tokens are kept in Redis: as RomM's releases do (string), or as a hash.",
    )
    log_level: LogLevel = setting(
        "LOG_LEVEL",
        parse=parse.log_level,
        flag="--log-level",
        default="warn",
        about="debug, info, warn, error or silent.",
    )

    ice_servers: tuple[IceServer, ...] = Field(
        default_factory=lambda: ice_servers({})[0], description="STUN and TURN servers for browsers."
    )

    @model_validator(mode="after")
    def _together(self) -> RommSettings:
        problems = signing_key_problems(self.romm_auth_secret_key, self.romm_sfu_internal_secret)
        if self.romm_sfu_internal_secret is None:
            problems.append("ROMM_SFU_INTERNAL_SECRET is not set: give the same one as to the nodes")
        if self.romm_auth_secret_key is None:
            problems.append("ROMM_AUTH_SECRET_KEY is not set: make one with openssl rand -hex 32")
        if any(network.prefixlen == 0 for network in self.trusted_proxies):
            problems.append("SFU_TRUSTED_PROXIES must not be everyone: who is trusted can be any user")
        if problems:
            raise ValueError("\n".join(problems))
        return self


SOURCES: Final = sources_of(RommSettings)
"""By field."""
