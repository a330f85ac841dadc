"""The journal's bytes: a block reads back as it was written, and any changed or missing byte is noticed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polku_collector.batch import Run, Schemas
from polku_collector.journal.block import (
    HEAD_BYTES,
    Damaged,
    EncodedRun,
    SegmentHeader,
    decode_block,
    decode_head,
    decode_header,
    encode_block,
    encode_header,
)

SCHEMAS = Schemas("shop", "1", "abc", {"order_completed": {"order_id": "string"}}, {})

lines = st.lists(st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"") + b"\n"), min_size=1, max_size=5)
runs = st.lists(lines, min_size=1, max_size=4)


def written(found: list[list[bytes]], first: int = 7) -> bytes:
    parts = [
        EncodedRun(f"event_{number}", len(group), b"".join(group), traits=False) for number, group in enumerate(found)
    ]
    return b"".join(encode_block("s1", first, parts))


@given(runs)
def test_a_block_reads_back(found: list[list[bytes]]) -> None:
    data = memoryview(written(found))
    head = decode_head(data)
    read_runs, read_lines = decode_block("s1", head, data)
    assert head.total_bytes == len(data)
    assert head.first_sequence == 7
    assert head.last_sequence == 6 + sum(map(len, found))
    assert bytes(read_lines) == b"".join(b"".join(group) for group in found)
    for run, group in zip(read_runs, found, strict=True):
        assert bytes(read_lines[run.offset : run.offset + run.length]) == b"".join(group)
        assert run.lines == len(group)


@given(runs, st.data())
def test_a_changed_byte_is_noticed(found: list[list[bytes]], data: st.DataObject) -> None:
    block = bytearray(written(found))
    position = data.draw(st.integers(0, len(block) - 1))
    block[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Damaged):
        decode_block("s1", decode_head(memoryview(block)), memoryview(block))


@given(runs, st.data())
def test_a_cut_block_is_noticed(found: list[list[bytes]], data: st.DataObject) -> None:
    block = written(found)
    cut = memoryview(block)[: data.draw(st.integers(0, len(block) - 1))]
    with pytest.raises(Damaged):
        decode_block("s1", decode_head(cut), cut)


def test_a_block_of_another_stream_is_refused() -> None:
    data = memoryview(written([[b"{}\n"]]))
    with pytest.raises(Damaged, match="belongs to stream s1"):
        decode_block("s2", decode_head(data), data)


def test_the_head_has_a_fixed_width() -> None:
    assert decode_head(written([[b"x\n"]])).lines_bytes == 2
    assert len(encode_block("s1", 2**63, [EncodedRun("a", 1, b"x\n", traits=True)])[0]) == HEAD_BYTES


def test_a_segment_header_reads_back_and_a_torn_one_is_refused() -> None:
    header = SegmentHeader("s1", 3, 1001, SCHEMAS)
    data = encode_header(header)
    assert decode_header(data) == header
    for end in range(len(data)):
        with pytest.raises(Damaged):
            decode_header(data[:end])


def test_a_header_of_a_newer_format_says_so() -> None:
    newer = SegmentHeader("s1", 1, 1, SCHEMAS, format=99)
    with pytest.raises(Damaged, match="journal format 99"):
        decode_header(encode_header(newer))


def test_runs_are_compact_in_the_trailer() -> None:
    block = written([[b"a\n", b"b\n"]])
    assert b'[["event_0",0,4,2,false]]' in block
    assert Run("event_0", 0, 4, 2, traits=False) == decode_block("s1", decode_head(block), memoryview(block))[0][0]
