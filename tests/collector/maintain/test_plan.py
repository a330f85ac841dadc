"""What is merged, by sizes alone: bounds, cost over a table's life, and that nothing is merged twice or in vain."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from polku_collector.lake.table import LiveFile
from polku_collector.maintain.plan import MOST_FILES, MOST_ROWS, Merge, is_too_many, merges

TODAY, YESTERDAY = "2026-11-26", "2026-11-25"
TARGET = 128 << 20


def live(number: int, size: int, day: str = TODAY, rows: int = 100, prefix: str = "") -> LiveFile:
    return LiveFile(f"event_date={day}/{prefix}{number}.parquet", day, size, rows)


def after(files: list[LiveFile], merge: Merge, number: int) -> list[LiveFile]:
    gone = {file.path for file in merge.files}
    return [file for file in files if file.path not in gone] + [
        live(number, merge.size_bytes, merge.partition, merge.rows)
    ]


def next_merge(files: list[LiveFile], most_files: int, *, begun: bool) -> Merge | None:
    if not is_too_many(len(files), most_files, begun=begun):
        return None
    return next(iter(merges(files, today=TODAY, target_bytes=TARGET)), None)


files = st.lists(
    st.builds(
        live,
        st.integers(0, 10**9),
        st.integers(1, 2 * TARGET),
        st.sampled_from([TODAY, YESTERDAY, "2026-11-24", "None"]),
        st.integers(0, MOST_ROWS),
        st.sampled_from(["", "replay-"]),
    ),
    max_size=60,
    unique_by=lambda file: file.path,
)


@given(files, st.booleans())
def test_a_merge_is_of_one_day_bounded_and_of_small_files_that_are_in_no_other(
    given_files: list[LiveFile], everything: bool
) -> None:
    found = merges(given_files, today=TODAY, target_bytes=TARGET, everything=everything)
    used = Counter(file.path for merge in found for file in merge.files)
    assert all(count == 1 for count in used.values())
    assert used.keys() <= {file.path for file in given_files}
    for merge in found:
        assert 2 <= len(merge.files) <= MOST_FILES
        assert {file.partition for file in merge.files} == {merge.partition}
        assert len({"replay-" in file.path for file in merge.files}) == 1
        assert merge.size_bytes <= TARGET and merge.rows <= MOST_ROWS + max(file.rows for file in merge.files)
        assert all(file.size_bytes < TARGET / 2 for file in merge.files)


@given(files)
def test_merging_everything_ends_and_leaves_no_two_files_that_fit_together(given_files: list[LiveFile]) -> None:
    left, number = given_files, 10**9
    while found := merges(left, today=TODAY, target_bytes=TARGET, everything=True):
        number += 1
        fewer = after(left, found[0], number)
        assert len(fewer) < len(left)
        left = fewer


def test_a_large_file_is_not_written_again_for_a_few_small_ones() -> None:
    large, small = live(1, 40 << 20, YESTERDAY), [live(number, 1 << 20, YESTERDAY) for number in range(2, 10)]
    (merge,) = merges([large, *small], today=TODAY, target_bytes=TARGET)
    assert large not in merge.files and len(merge.files) == 8
    (whole,) = merges([large, *small], today=TODAY, target_bytes=TARGET, everything=True)
    assert large in whole.files


def test_nothing_is_done_until_there_are_too_many_files_and_then_half_of_them_go() -> None:
    few = [live(number, 50_000) for number in range(100)]
    assert next_merge(few, 100, begun=False) is None
    many = [*few, live(100, 50_000)]
    merge = next_merge(many, 100, begun=False)
    assert merge is not None and len(merge.files) == 101
    assert next_merge(few[:51], 100, begun=True) is not None
    assert next_merge(few[:50], 100, begun=True) is None


def test_a_day_that_is_over_goes_before_today() -> None:
    both = [live(number, 50_000, day) for number, day in enumerate([TODAY, YESTERDAY] * 100)]
    found = merges(both, today=TODAY, target_bytes=TARGET)
    assert [merge.partition for merge in found] == [YESTERDAY, TODAY]


def test_a_few_files_of_today_wait_for_more_and_those_of_a_day_that_is_over_do_not() -> None:
    few = [live(number, 50_000, day) for number, day in enumerate([TODAY, YESTERDAY] * 3)]
    assert [merge.partition for merge in merges(few, today=TODAY, target_bytes=TARGET)] == [YESTERDAY]


def test_a_trickle_to_a_day_that_is_over_does_not_keep_today_from_being_merged() -> None:
    """Around midnight every flush brings files of two days, and a merge takes as long as a few flushes."""
    big = live(0, 80_000, YESTERDAY, rows=5_000)
    trickle = [live(number, 35_000, YESTERDAY, rows=10) for number in range(1, 7)]
    many = [live(number, 35_000, rows=10) for number in range(100, 250)]
    found = merges([big, *trickle, *many], today=TODAY, target_bytes=TARGET)
    assert found[0].partition == TODAY and len(found[0].files) == 150
    assert all(big not in merge.files for merge in found), "not written again for a hundred rows"


def _life(commits: int, size: int, most_files: int, unavoidable: int = 0) -> tuple[int, float]:
    """Commit, look after every tenth commit; returns the most files there were and how often a byte was rewritten."""
    present = [live(-number, 10, f"2025-{1 + number % 12:02}-{1 + number // 12:02}") for number in range(unavoidable)]
    most = written = 0
    for number in range(commits):
        present.append(live(number, size))
        most = max(most, len(present))
        if number % 10:
            continue
        begun = False
        while merge := next_merge(present, most_files, begun=begun):
            present = after(present, merge, 10**9 + written)
            written += merge.size_bytes
            begun = True
    return most, written / (commits * size)


def test_the_number_of_files_stays_bounded_and_a_row_is_written_a_few_times_however_long_it_goes_on() -> None:
    for size in (5_000, 500_000):
        most, rewrites = _life(5_000, size, most_files=100)
        full = 5_000 * size / (TARGET / 2)
        assert most <= 100 + 10 + full
        assert rewrites < 8


def test_a_table_that_cannot_get_below_its_bound_is_not_written_over_and_over() -> None:
    most, rewrites = _life(1_500, 50_000, most_files=100, unavoidable=200)
    assert most < 200 + 100
    assert rewrites < 8
