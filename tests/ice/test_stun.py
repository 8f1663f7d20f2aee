"""The STUN codec: RFC 5769 vectors, bytes of real peers, each rule of the format, round trips."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.ice import stun
from sfu.ice.stun import (
    ErrorCode,
    MappedAddress,
    MessageClass,
    StunError,
    StunMessage,
    decode_message_type,
    encode_message_type,
    is_stun,
    local_ufrag_untrusted,
    parse_untrusted,
)
from tests.ice.wire import assemble, attribute, messages

RFC5769_PASSWORD = "VOkJxbRl1RmTxUk/WvJxBt"
RFC5769_TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")

RFC5769_REQUEST = bytes.fromhex(
    "00010058 2112a442 b7e7a701bc34d686fa87dfae"
    "80220010 5354554e 20746573 7420636c 69656e74"
    "00240004 6e0001ff"
    "80290008 932ff9b1 51263b36"
    "00060009 6576746a 3a683676 59202020"
    "00080014 9aeaa70c bfd8cb56 781ef2b5 b2d3f249 c1b571a2"
    "80280004 e57a3bcf"
)
RFC5769_RESPONSE_IPV4 = bytes.fromhex(
    "0101003c 2112a442 b7e7a701bc34d686fa87dfae"
    "8022000b 74657374 20766563 746f7220"
    "00200008 0001a147 e112a643"
    "00080014 2b91f599 fd9e90c3 8c7489f9 2af9ba53 f06be7d7"
    "80280004 c07d4c96"
)
RFC5769_RESPONSE_IPV6 = bytes.fromhex(
    "01010048 2112a442 b7e7a701bc34d686fa87dfae"
    "8022000b 74657374 20766563 746f7220"
    "00200014 0002a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9"
    "00080014 a382954e 4be67bf1 1784c97c 8292c275 bfe3ed41"
    "80280004 c8fb0b4c"
)


class TestVectors:
    """RFC 5769 sections 2.1 to 2.3."""

    def test_request(self) -> None:
        parsed = parse_untrusted(RFC5769_REQUEST)
        assert parsed.message == StunMessage(
            message_class=MessageClass.REQUEST,
            transaction_id=RFC5769_TRANSACTION,
            software="STUN test client",
            priority=0x6E0001FF,
            ice_controlled=0x932FF9B151263B36,
            username="evtj:h6vY",
        )
        assert parsed.unknown_required == ()
        assert parsed.fingerprint_valid is True
        assert parsed.verify_integrity(RFC5769_PASSWORD)
        assert not parsed.verify_integrity(RFC5769_PASSWORD + "x")
        assert local_ufrag_untrusted(RFC5769_REQUEST) == "evtj"

    @pytest.mark.parametrize(
        ("data", "address"),
        [
            (RFC5769_RESPONSE_IPV4, MappedAddress("192.0.2.1", 32853)),
            (RFC5769_RESPONSE_IPV6, MappedAddress("2001:db8:1234:5678:11:2233:4455:6677", 32853)),
        ],
    )
    def test_response(self, data: bytes, address: MappedAddress) -> None:
        parsed = parse_untrusted(data)
        assert parsed.message == StunMessage(
            message_class=MessageClass.SUCCESS,
            transaction_id=RFC5769_TRANSACTION,
            software="test vector",
            xor_mapped_address=address,
        )
        assert parsed.fingerprint_valid is True
        assert parsed.verify_integrity(RFC5769_PASSWORD)

    @pytest.mark.parametrize("data", [RFC5769_RESPONSE_IPV4, RFC5769_RESPONSE_IPV6])
    def test_encoding_differs_only_in_the_padding_of_the_vectors(self, data: bytes) -> None:
        # The RFC pads with blanks, RFC 8489 asks for zeros; integrity and fingerprint cover the padding.
        encoded = parse_untrusted(data).message.encode(password=RFC5769_PASSWORD)
        covered = len(data) - 24 - 8
        assert encoded[:35] + b" " + encoded[36:covered] == data[:covered]
        assert len(encoded) == len(data)

    def test_chromium_check(self) -> None:
        """The attributes of a browser's nominating check, in its order, with those only it knows."""
        body = (
            attribute(0x0006, b"a" * 32 + b":" + b"4F/r")
            + attribute(0xC057, bytes.fromhex("0001000a"))
            + attribute(0x802A, bytes.fromhex("0123456789abcdef"))
            + attribute(0x0025, b"")
            + attribute(0xC001, (1).to_bytes(4, "big"))
            + attribute(0x0024, (1853824767).to_bytes(4, "big"))
        )
        parsed = parse_untrusted(assemble(body, password="secret"))
        assert parsed.message == StunMessage(
            message_class=MessageClass.REQUEST,
            transaction_id=bytes(12),
            username="a" * 32 + ":4F/r",
            ice_controlling=0x0123456789ABCDEF,
            use_candidate=True,
            nomination=1,
            priority=1853824767,
        )
        assert parsed.unknown_required == ()
        assert parsed.verify_integrity("secret")


class TestMessageType:
    @pytest.mark.parametrize(
        ("message_class", "method", "value"),
        [
            (MessageClass.REQUEST, 0x001, 0x0001),
            (MessageClass.INDICATION, 0x001, 0x0011),
            (MessageClass.SUCCESS, 0x001, 0x0101),
            (MessageClass.ERROR, 0x001, 0x0111),
            (MessageClass.ERROR, 0x0FF, 0x03FF),
            (MessageClass.REQUEST, 0x080, 0x0200),
            (MessageClass.REQUEST, 0x010, 0x0020),
        ],
    )
    def test_known_values(self, message_class: MessageClass, method: int, value: int) -> None:
        assert encode_message_type(message_class, method) == value
        assert decode_message_type(value) == (message_class, method)

    def test_all_types_round_trip(self) -> None:
        for value in range(1 << 10):
            assert encode_message_type(*decode_message_type(value)) == value

    @pytest.mark.parametrize("method", [-1, 0x100])
    def test_method_out_of_range(self, method: int) -> None:
        with pytest.raises(ValueError):
            encode_message_type(MessageClass.REQUEST, method)


class TestHeader:
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            bytes(19),
            bytes(20),
            b"\x04" + assemble(b"", fingerprint=False)[1:],
            assemble(b"", fingerprint=False)[:-1],
            b"\x16\xfe\xfd" + bytes(40),
            b"\x80\x60" + bytes(40),
        ],
        ids=["empty", "short", "no cookie", "first byte 4", "cut", "DTLS", "RTP"],
    )
    def test_other_traffic(self, data: bytes) -> None:
        assert not is_stun(data)
        with pytest.raises(StunError):
            parse_untrusted(data)
        with pytest.raises(StunError):
            local_ufrag_untrusted(data)

    @pytest.mark.parametrize("length", [1, 2, 3, 4, 8, 0xFFFC, 0xFFFF])
    def test_length_field_must_fit(self, length: int) -> None:
        data = struct.pack("!HHI12s", 1, length, stun.MAGIC_COOKIE, bytes(12))
        with pytest.raises(StunError):
            parse_untrusted(data)
        with pytest.raises(StunError):
            parse_untrusted(data + bytes(length % 4))

    def test_trailing_bytes(self) -> None:
        data = assemble(b"")
        assert parse_untrusted(data).fingerprint_valid
        with pytest.raises(StunError):
            parse_untrusted(data + bytes(4))


class TestCaps:
    def test_message_size(self) -> None:
        room = stun.MAX_MESSAGE_SIZE - stun.HEADER_SIZE - 4
        largest = assemble(attribute(0x9999, bytes(room)), fingerprint=False)
        assert len(largest) == stun.MAX_MESSAGE_SIZE
        parse_untrusted(largest)
        too_large = assemble(attribute(0x9999, bytes(room + 4)), fingerprint=False)
        with pytest.raises(StunError, match="too long"):
            parse_untrusted(too_large)
        with pytest.raises(StunError):
            local_ufrag_untrusted(
                assemble(attribute(6, b"a:b") + attribute(0x9999, bytes(room)), fingerprint=False)
            )

    def test_attribute_count(self) -> None:
        body = attribute(0x9999, b"") * stun.MAX_ATTRIBUTES
        parse_untrusted(assemble(body, fingerprint=False))
        with pytest.raises(StunError, match="too many"):
            parse_untrusted(assemble(body, fingerprint=True))

    def test_attribute_count_when_looking_for_the_user_name(self) -> None:
        filler, username = attribute(0x9999, b""), attribute(6, b"left:right")
        data = assemble(filler * (stun.MAX_ATTRIBUTES - 1) + username)
        assert local_ufrag_untrusted(data) == "left"
        with pytest.raises(StunError):
            local_ufrag_untrusted(assemble(filler * stun.MAX_ATTRIBUTES + username))

    @pytest.mark.parametrize(
        ("attribute_type", "cap"),
        [(0x0006, stun.MAX_USERNAME_SIZE), (0x8022, stun.MAX_TEXT_SIZE)],
    )
    def test_text_size(self, attribute_type: int, cap: int) -> None:
        parse_untrusted(assemble(attribute(attribute_type, b"a" * cap)))
        with pytest.raises(StunError, match="text too long"):
            parse_untrusted(assemble(attribute(attribute_type, b"a" * (cap + 1))))

    def test_text_size_when_encoding(self) -> None:
        def encode(size: int) -> bytes:
            return StunMessage(
                message_class=MessageClass.REQUEST, transaction_id=bytes(12), username="a" * size
            ).encode()

        assert parse_untrusted(encode(stun.MAX_USERNAME_SIZE)).message.username is not None
        with pytest.raises(ValueError, match="text too long"):
            encode(stun.MAX_USERNAME_SIZE + 1)


class TestAttributes:
    @pytest.mark.parametrize(
        ("attribute_type", "value"),
        [
            (0x0006, b"\xff\xfe:x"),  # USERNAME
            (0x8022, b"\xc3"),  # SOFTWARE
            (0x0024, b"\0\0\0"),  # PRIORITY
            (0x0024, bytes(8)),
            (0x0025, b"\0"),  # USE-CANDIDATE
            (0xC001, b""),  # NOMINATION
            (0x8029, bytes(4)),  # ICE-CONTROLLED
            (0x802A, bytes(9)),  # ICE-CONTROLLING
            (0x0020, b""),  # XOR-MAPPED-ADDRESS
            (0x0020, b"\0\1\0\0\0\0\0"),
            (0x0020, b"\0\2\0\0\0\0\0\0"),
            (0x0020, b"\0\3\0\0\0\0\0\0"),
            (0x0020, b"\0\1" + bytes(18)),
            (0x0009, b"\0\0\4"),  # ERROR-CODE
            (0x0009, b"\0\0\2\0"),
            (0x0009, b"\0\0\7\0"),
            (0x0009, b"\0\0\4\x64"),
            (0x0009, b"\0\0\4\0\xff"),
            (0x000A, b"\0\1\0"),  # UNKNOWN-ATTRIBUTES
            (0x0008, bytes(16)),  # MESSAGE-INTEGRITY
            (0x8028, bytes(8)),  # FINGERPRINT
        ],
    )
    def test_malformed_value(self, attribute_type: int, value: bytes) -> None:
        with pytest.raises(StunError):
            parse_untrusted(assemble(attribute(attribute_type, value), fingerprint=False))

    @pytest.mark.parametrize("code", [300, 399, 400, 487, 600, 699])
    def test_error_codes(self, code: int) -> None:
        message = StunMessage(
            message_class=MessageClass.ERROR, transaction_id=bytes(12), error_code=ErrorCode(code, "why")
        )
        data = message.encode(fingerprint=False)
        assert data[24:31] == bytes((0, 0, code // 100, code % 100)) + b"why"
        assert parse_untrusted(data).message == message

    def test_longer_than_the_message(self) -> None:
        with pytest.raises(StunError, match="longer"):
            parse_untrusted(assemble(struct.pack("!HH", 0x9999, 1), fingerprint=False))
        with pytest.raises(StunError, match="longer"):
            parse_untrusted(assemble(struct.pack("!HH", 0x9999, 0xFFFF), fingerprint=False))

    def test_padding_is_ignored(self) -> None:
        body = struct.pack("!HH", 6, 5) + b"ab:cd" + b"\xff\xfe\xfd"
        assert parse_untrusted(assemble(body)).message.username == "ab:cd"

    def test_first_of_two_counts(self) -> None:
        data = assemble(attribute(6, b"a:b") + attribute(6, b"c:d") + attribute(0x24, b"\0\0\0\1") * 2)
        assert parse_untrusted(data).message.username == "a:b"
        assert local_ufrag_untrusted(data) == "a"

    def test_unknown_attributes(self) -> None:
        """Those of the required half are listed, once; the others are nothing to us (RFC 8489 14)."""
        body = b"".join(attribute(kind, b"abc") for kind in (0x7FFF, 0x0003, 0x8000, 0xFFFF, 0x0003))
        assert parse_untrusted(assemble(body)).unknown_required == (0x7FFF, 0x0003)

    def test_understood_but_ignored(self) -> None:
        body = b"".join(attribute(kind, bytes(32)) for kind in (0x0001, 0x0014, 0x0015, 0x001C))
        parsed = parse_untrusted(assemble(body, password="p"))
        assert parsed.unknown_required == ()
        assert parsed.verify_integrity("p")

    def test_encoder_refuses_values_out_of_range(self) -> None:
        for fields in (
            {"priority": 1 << 32},
            {"priority": -1},
            {"nomination": 1 << 32},
            {"ice_controlled": 1 << 64},
            {"error_code": ErrorCode(299, "")},
            {"error_code": ErrorCode(700, "")},
            {"transaction_id": bytes(11)},
        ):
            message = StunMessage(
                **{"message_class": MessageClass.REQUEST, "transaction_id": bytes(12), **fields}  # type: ignore[arg-type]
            )
            with pytest.raises(ValueError):
                message.encode()


class TestIntegrity:
    BODY = attribute(6, b"ab:cd") + attribute(0x24, b"\0\0\0\1")

    def test_absent(self) -> None:
        parsed = parse_untrusted(assemble(self.BODY))
        assert parsed.integrity_offset is None
        assert not parsed.verify_integrity("")

    def test_with_and_without_fingerprint(self) -> None:
        for fingerprint in (True, False):
            parsed = parse_untrusted(assemble(self.BODY, password="p", fingerprint=fingerprint))
            assert parsed.verify_integrity("p")
            assert not parsed.verify_integrity("q")
            assert parsed.fingerprint_valid is (True if fingerprint else None)

    def test_every_covered_bit_counts(self) -> None:
        data = assemble(self.BODY, password="p", fingerprint=False)
        for position in range(8, len(data)):
            if position in range(len(data) - 24, len(data) - 20):
                continue  # the header of MESSAGE-INTEGRITY itself
            changed = bytearray(data)
            changed[position] ^= 1
            try:
                parsed = parse_untrusted(bytes(changed))
            except StunError:
                continue
            assert not parsed.verify_integrity("p"), position

    def test_what_follows_is_ignored(self) -> None:
        """Only FINGERPRINT counts after MESSAGE-INTEGRITY (RFC 8489 14.5); even nonsense does no harm."""
        extra = (
            attribute(0x0025, b"")
            + attribute(0xC001, b"\0\0\0\7")
            + attribute(0x7777, b"unknown")
            + attribute(0x0024, b"malformed")
            + attribute(0x001C, bytes(32))
            + attribute(0x0008, bytes(20))
            + attribute(0x0008, b"malformed")
        )
        parsed = parse_untrusted(assemble(self.BODY, password="p", after=extra))
        assert parsed.message == parse_untrusted(assemble(self.BODY)).message
        assert parsed.unknown_required == ()
        assert parsed.fingerprint_valid is True
        assert parsed.verify_integrity("p")

    def test_password_is_utf8(self) -> None:
        parsed = parse_untrusted(assemble(self.BODY, password="pässwörd"))
        assert parsed.verify_integrity("pässwörd")


class TestFingerprint:
    def test_wrong(self) -> None:
        data = bytearray(assemble(b""))
        data[-1] ^= 1
        assert parse_untrusted(bytes(data)).fingerprint_valid is False

    def test_is_a_crc_with_a_twist(self) -> None:
        data = assemble(b"")
        assert int.from_bytes(data[-4:], "big") == zlib.crc32(data[:-8]) ^ int.from_bytes(b"STUN", "big")

    def test_must_be_last(self) -> None:
        body = attribute(0x8028, bytes(4)) + attribute(0x9999, b"")
        with pytest.raises(StunError, match="last"):
            parse_untrusted(assemble(body, fingerprint=False))


class TestLocalUfrag:
    @pytest.mark.parametrize("username", [b"left:right", b"left:", b"left:a:b"])
    def test_part_before_the_colon(self, username: bytes) -> None:
        assert local_ufrag_untrusted(assemble(attribute(0x9999, b"abc") + attribute(6, username))) == "left"

    def test_nothing_inside_another_attribute_is_taken_for_a_user_name(self) -> None:
        decoy = attribute(0x9999, attribute(6, b"decoy:x") + b"abc")
        data = assemble(decoy + attribute(6, b"left:right"))
        assert local_ufrag_untrusted(data) == "left"
        assert parse_untrusted(data).message.username == "left:right"

    def test_largest_message(self) -> None:
        room = stun.MAX_MESSAGE_SIZE - stun.HEADER_SIZE - 8 - 4
        data = assemble(attribute(6, b"a:b") + attribute(0x9999, bytes(room)), fingerprint=False)
        assert len(data) == stun.MAX_MESSAGE_SIZE
        assert local_ufrag_untrusted(data) == "a"

    @pytest.mark.parametrize(
        "body",
        [b"", attribute(6, b"left"), attribute(6, b""), attribute(6, "ä:b".encode()), b"\0\6\0\x40a:bc"],
        ids=["absent", "no colon", "empty", "not ASCII", "cut"],
    )
    def test_malformed(self, body: bytes) -> None:
        with pytest.raises(StunError):
            local_ufrag_untrusted(assemble(body, fingerprint=False))


@given(messages(), st.none() | st.text(max_size=40), st.booleans())
def test_round_trip(message: StunMessage, password: str | None, fingerprint: bool) -> None:
    data = message.encode(password=password, fingerprint=fingerprint)
    parsed = parse_untrusted(data)
    assert parsed.message == message
    assert parsed.unknown_required == ()
    assert parsed.fingerprint_valid is (True if fingerprint else None)
    assert (parsed.integrity_offset is not None) is (password is not None)
    if password is not None:
        assert parsed.verify_integrity(password)
        assert not parsed.verify_integrity(password + "x")
    assert is_stun(data)
    if message.username is not None and ":" in message.username:
        ufrag = message.username.partition(":")[0]
        if ufrag.isascii():
            assert local_ufrag_untrusted(data) == ufrag
