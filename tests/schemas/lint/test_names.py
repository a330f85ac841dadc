"""Names that look alike: found where a person would take one for the other, quiet where they differ on purpose."""

import pytest

from polku_schemas.lint.names import similar_pairs


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("product_id", "productid"),
        ("coupon", "coupons"),
        ("company", "companies"),
        ("size", "sizes"),
        ("box_count", "boxes_count"),
        ("discount_coupon", "coupon_discount"),
        ("received_at", "recieved_at"),
        ("delivery_day", "delivry_day"),
        ("shipping_cost", "shiping_cost"),
        ("quantity", "quantities"),
    ],
)
def test_names_that_look_alike(first: str, second: str) -> None:
    assert list(similar_pairs([first, "other", second])) == [(first, second)]
    assert list(similar_pairs([second, first])) == [(second, first)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("line_1", "line_2"),
        ("address1", "address2"),
        ("load_ms", "lcp_ms"),
        ("sent_at", "send_at"),
        ("product_viewed", "product_clicked"),
        ("order_id", "order_ids_count"),
        ("status", "state"),
        ("abcdefg", "bcdefgh"),
        ("starts_at", "ends_at"),
    ],
)
def test_names_that_differ_on_purpose(first: str, second: str) -> None:
    assert list(similar_pairs([first, second])) == []


def test_each_name_is_told_about_its_first_look_alike_only() -> None:
    assert list(similar_pairs(["coupon", "coupons", "coup_on"])) == [("coupon", "coupons"), ("coupon", "coup_on")]


def test_a_thousand_names_are_compared_without_comparing_all_pairs_in_full() -> None:
    """Most names of a plan share long words with many others. A regression shows as a test that does not end."""
    letters = "abcdefghij"
    names = [f"one{letters[n % 10] * 6}_two{letters[n // 10 % 10] * 6}_{letters[n // 100] * 6}" for n in range(1000)]
    assert list(similar_pairs(names)) == []
