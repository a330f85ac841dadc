"""Bodies in every encoding, whole, in pieces, several in one, broken, and as bombs."""

import gzip
import io
import json
import sys
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polku_collector.intake.encoding import MAX_MEMBERS, RATIO_FLOOR_BYTES, Inflater, encoding_of
from polku_collector.intake.refused import Refused

from .world import GOOD, World, error

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TEXT = b'{"batch": []}' * 50


def bare_deflate(data: bytes) -> bytes:
    made = zlib.compressobj(wbits=-15)
    return made.compress(data) + made.flush()


ENCODINGS = {
    "gzip": gzip.compress,
    "zstd": zstd.compress,
    "deflate": zlib.compress,
}


def inflated(
    encoding: str,
    data: bytes,
    piece: int = 1 << 20,
    most: int = 1 << 20,
    max_bytes: int = 1 << 24,
    max_ratio: int = 200,
) -> bytes:
    inflater = Inflater(encoding, max_bytes, max_ratio)
    for at in range(0, len(data), piece):
        more = inflater.feed(data[at : at + piece], most)
        while more:
            more = inflater.feed(b"", most)
    return inflater.close()


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(data=st.binary(max_size=2_000), piece=st.integers(1, 300), most=st.integers(1, 3_000))
def test_what_was_compressed_comes_out_however_it_is_cut(encoding: str, data: bytes, piece: int, most: int) -> None:
    assert inflated(encoding, ENCODINGS[encoding](data), piece, most) == data


@pytest.mark.parametrize("piece", [1, 7, 1_000_000])
def test_members_one_after_the_other_are_one_body(piece: int) -> None:
    """Only the first one would be a loss that nobody is told of."""
    for encoding in ("gzip", "zstd"):
        compress = ENCODINGS[encoding]
        data = compress(TEXT) + compress(b"") + compress(b" and more")
        assert inflated(encoding, data, piece) == TEXT + b" and more"
    skippable = b"\x51\x2a\x4d\x18\x04\x00\x00\x00abcd"
    assert inflated("zstd", skippable + zstd.compress(TEXT) + skippable, piece) == TEXT
    assert inflated("gzip", gzip.compress(TEXT) + b"\0" * 30 + gzip.compress(b"x") + b"\0" * 5, piece) == TEXT + b"x"
    assert inflated("deflate", bare_deflate(TEXT), 1_000_000) == TEXT


@pytest.mark.parametrize("piece", [1, 7, 1_000_000])
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("garbage", [b"!", b"\x1f", b"garbage that is longer"])
def test_what_follows_the_end_is_not_passed_over(encoding: str, garbage: bytes, piece: int) -> None:
    with pytest.raises(Refused) as refused:
        inflated(encoding, ENCODINGS[encoding](TEXT) + garbage, piece)
    assert (refused.value.status, refused.value.error) == (400, f"invalid_{encoding}")


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(data=st.data())
def test_broken_bytes_are_refused_and_nothing_else_is_raised(encoding: str, data: st.DataObject) -> None:
    whole = bytearray(ENCODINGS[encoding](TEXT))
    if data.draw(st.booleans()):
        del whole[data.draw(st.integers(0, len(whole) - 1)) :]
    else:
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        inflated(encoding, bytes(whole), data.draw(st.integers(1, 100)))
    except Refused as refused:
        assert refused.status in (400, 413)


def with_head_checksum(data: bytes) -> bytes:
    """As `gzip.compress`, with the optional parts of a head: RFC 1952, 2.3.1."""
    made = zlib.compressobj(wbits=-15)
    head = b"\x1f\x8b\x08\x1a" + b"\0" * 6 + b"a name\0" + b"a comment\0"
    checksum = (zlib.crc32(head) & 0xFFFF).to_bytes(2, "little")
    end = zlib.crc32(data).to_bytes(4, "little") + len(data).to_bytes(4, "little")
    return head + checksum + made.compress(data) + made.flush() + end


def test_a_gzip_head_with_its_optional_parts_is_read() -> None:
    assert inflated("gzip", with_head_checksum(TEXT) + gzip.compress(b"x"), 7) == TEXT + b"x"


@given(
    parts=st.lists(
        st.tuples(st.binary(max_size=300), st.integers(0, 9), st.sampled_from([1, 70])), min_size=1, max_size=3
    ),
    changes=st.lists(st.tuples(st.integers(0, 1_000), st.integers(0, 255)), max_size=3),
    padding=st.sampled_from([b"", b"\0" * 9, b"?"]),
    piece=st.integers(1, 300),
    most=st.integers(1, 3_000),
)
def test_gzip_is_taken_and_refused_as_by_pythons_own(
    parts: list[tuple[bytes, int, int]], changes: list[tuple[int, int]], padding: bytes, piece: int, most: int
) -> None:
    """Which is zlib's, and not the library that undoes most of it here. That is content with odder codes, if what comes
    out is what the checksum is of.
    """
    whole = b"".join(text * times for text, _, times in parts)
    data = bytearray(b"".join(gzip.compress(text * times, level) for text, level, times in parts) + padding)
    for place, value in changes:
        data[place % len(data)] = value
    try:
        expected: bytes | None = gzip.decompress(bytes(data))
    except (OSError, EOFError, zlib.error):
        expected = None
    try:
        found: bytes | None = inflated("gzip", bytes(data), piece, most)
    except Refused as refused:
        assert refused.status == 400
        found = None
    if data[3] & 0xE2 == 0:  # Python's own reads over a head's checksum and reserved bits
        assert found == expected or (expected is None and found == whole)


@pytest.mark.parametrize("piece", [1_000, 1_000_000])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_bomb_is_given_up_by_ratio_before_it_has_grown(encoding: str, piece: int) -> None:
    """However much of it arrives at once."""
    bomb = ENCODINGS[encoding](b"\0" * 60_000_000)
    inflater = Inflater(encoding, 50_000_000, 200)
    tracemalloc.start()
    with pytest.raises(Refused) as refused:
        for at in range(0, len(bomb), piece):
            more = inflater.feed(bomb[at : at + piece], 128 * 1024)
            while more:
                more = inflater.feed(b"", 128 * 1024)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (refused.value.status, refused.value.error) == (413, "ratio_too_high")
    assert inflater.size <= RATIO_FLOOR_BYTES + 2 * 128 * 1024
    assert peak < 8_000_000


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_many_empty_members_are_refused(encoding: str) -> None:
    with pytest.raises(Refused, match=f"more than {MAX_MEMBERS} parts"):
        inflated(encoding, ENCODINGS[encoding](b"") * (MAX_MEMBERS + 1))
    assert inflated(encoding, ENCODINGS[encoding](b"x") * MAX_MEMBERS) == b"x" * MAX_MEMBERS


def test_a_zstd_window_that_asks_for_much_memory_is_refused() -> None:
    made = io.BytesIO()
    options = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.compression_level: 1}
    with zstd.open(made, "wb", options=options) as file:  # type: ignore[arg-type]
        file.write(b"x" * 1000)
    with pytest.raises(Refused) as refused:
        inflated("zstd", made.getvalue())
    assert refused.value.error == "invalid_zstd"


def test_an_encoding_is_known_by_its_header_or_by_its_first_bytes() -> None:
    assert encoding_of(gzip.compress(b"")[:4], b"") == "gzip"
    assert encoding_of(zstd.compress(b"")[:4], b"identity") == "zstd"
    assert encoding_of(b"{}", b"") is None
    assert [encoding_of(b"", name) for name in (b"GZIP", b" x-gzip", b"zstd", b"deflate")] == [
        *("gzip", "gzip", "zstd", "deflate")
    ]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_body_is_taken_in_every_encoding_at_once_and_in_small_pieces(world: World, encoding: str) -> None:
    # Large enough to be undone in the other thread too.
    many = json.dumps({"batch": [GOOD | {"messageId": f"m{n}" * 9} for n in range(500)], "pad": " " * 50_000}).encode()
    for body in (json.dumps({"batch": [GOOD]}).encode(), many):
        data = ENCODINGS[encoding](body)
        headers = {"content-encoding": encoding}
        assert world.post(data, headers=headers).json()["accepted"] in (1, 500)
        pieces = (data[at : at + 100] for at in range(0, len(data), 100))
        answer = world.client.post("/v1/batch", content=pieces, auth=("web-key", ""), headers=headers)
        assert answer.json()["accepted"] in (1, 500)
    assert len(world.taken()) == 1002
    assert error(world.post(ENCODINGS[encoding](b" " * 500_000), headers=headers)) == (413, "too_large")
