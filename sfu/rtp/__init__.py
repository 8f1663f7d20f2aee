"""RTP, RTCP and SRTP, sans-I/O: parsers, builders and cryptographic contexts. No clock, no socket, no policy.

``packet`` headers and numbers that wrap, ``extensions`` header extensions, ``rtcp`` control packets, ``srtp``
contexts over ``srtp_crypto`` transforms, ``payload`` key frames, ``rtx`` retransmission. Bytes that are not
what they should be raise :class:`sfu.rtp.packet.RtpError`, or :class:`sfu.rtp.srtp.SrtpError` in ``srtp``.
"""
