"""Numbers with their nouns."""

from polku_schemas.amounts import counted


def test_one_is_singular_and_all_else_plural_with_marks_between_thousands() -> None:
    assert [counted(count, "order") for count in (0, 1, 2, 1_300)] == [
        "0 orders",
        "1 order",
        "2 orders",
        "1,300 orders",
    ]
    assert [counted(count, "property", "properties") for count in (1, 2)] == ["1 property", "2 properties"]
