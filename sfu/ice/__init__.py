"""ICE-lite (RFC 8445), STUN (RFC 8489) and the framing of ICE over TCP (RFC 4571), sans-I/O.

See ``docs/protocols/ice.md``.
"""
