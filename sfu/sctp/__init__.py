"""SCTP and data channels over DTLS, sans-I/O: :class:`sfu.sctp.association.Association` is the face."""
