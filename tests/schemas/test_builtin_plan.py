"""The built-in e-commerce plan covers the whole journey and keeps its own rules."""

import msgspec
import pytest

from polku_schemas import (
    Checked,
    Plan,
    Property,
    builtin_plan_path,
    compile_plan,
    load_plan,
    stage_values,
    table_columns,
)

PLAN = load_plan(builtin_plan_path())
COMPILED = compile_plan(PLAN)

# What a shop has to be able to track, by area.
COVERED = {
    "web shop": "page_viewed screen_viewed product_list_viewed product_viewed product_clicked products_searched "
    "search_results_viewed search_result_clicked banner_viewed banner_clicked cta_clicked form_submitted "
    "product_added_to_wishlist product_added product_removed cart_viewed checkout_started checkout_step_viewed "
    "checkout_step_completed payment_info_entered payment_failed order_completed promotion_viewed promotion_clicked "
    "products_compared",
    "mail and ads": "email_sent email_opened email_clicked campaign_received coupon_received coupon_redeemed "
    "ad_viewed ad_clicked",
    "store and call centre": "store_visited store_order_completed meeting_booked agent_contacted",
    "after the order": "order_shipped order_delivered order_returned order_refunded order_cancelled complaint_opened "
    "complaint_solved review_submitted survey_answered feedback_requested product_shared referral_sent",
    "account": "signed_up logged_in logged_out subscription_started subscription_renewed subscription_cancelled",
    "IT": "page_performance_measured page_scrolled script_failed error_shown",
    "content": "article_read playback_started playback_progressed playback_completed feature_enabled content_rated",
}

# The facts that the analyses of these events stand on.
CARRIED = {
    "products_searched": "query results_count",
    "search_results_viewed": "lowest_position",
    "search_result_clicked": "position",
    "order_completed": "order_id products revenue total discount coupon currency",
    "store_order_completed": "order_id store_id products revenue discount coupon_discount",
    "email_clicked": "element",
    "coupon_redeemed": "coupon_id campaign_id",
    "campaign_received": "campaign_id campaign_type",
    "agent_contacted": "agent_id agent_role reason contact_reason duration_seconds",
    "order_delivered": "promised_at delivered_at",
    "survey_answered": "question scale score about",
    "article_read": "topic",
    # What the browser SDK's add-ons send.
    "page_performance_measured": "load_ms ttfb_ms lcp_ms inp_ms cls",
    "page_scrolled": "scroll_share",
    "script_failed": "error_message script_file script_line",
}

# Track names of the Segment e-commerce specification that a shop's code already sends.
SEGMENT_NAMES = (
    """
Products Searched|Product List Viewed|Product List Filtered|Promotion Viewed|Promotion Clicked|Product Clicked
Product Viewed|Product Added|Product Removed|Cart Viewed|Checkout Started|Checkout Step Viewed
Checkout Step Completed|Payment Info Entered|Order Updated|Order Completed|Order Refunded|Order Cancelled
Coupon Entered|Coupon Applied|Coupon Denied|Coupon Removed|Product Added to Wishlist
Product Removed from Wishlist|Wishlist Product Added to Cart|Product Shared|Cart Shared|Product Reviewed
""".strip()
    .replace("\n", "|")
    .split("|")
)


@pytest.mark.parametrize("area", COVERED)
def test_the_plan_covers(area: str) -> None:
    assert set(COVERED[area].split()) <= set(PLAN.events)


def test_the_plan_has_at_least_fifty_events() -> None:
    assert len(PLAN.events) >= 50


@pytest.mark.parametrize("name", CARRIED)
def test_the_event_carries(name: str) -> None:
    assert set(CARRIED[name].split()) <= set(PLAN.events[name].properties)


@pytest.mark.parametrize("name", SEGMENT_NAMES)
def test_a_segment_name_is_an_alias(name: str) -> None:
    found = COMPILED.find("track", name)
    assert found is not None
    assert name in PLAN.events[found.name].aliases


@pytest.mark.parametrize("name", PLAN.events)
def test_every_example_is_decoded_by_the_fast_path_and_accepted_by_the_slow_one(name: str) -> None:
    event = COMPILED.find("track", name)
    assert event is not None
    assert PLAN.events[name].examples
    for example in PLAN.events[name].examples:
        raw = msgspec.json.encode(example)
        assert event.check(raw) == Checked(event.decode(raw), {}, False)


def test_all_stages_and_channels_can_be_reached() -> None:
    stages = {stage for event in PLAN.events.values() for stage in stage_values(event)}
    assert stages == set(PLAN.stages)
    assert PLAN.stages == (
        "awareness", "interest", "comparison", "purchase", "relationship", "repeat", "referral",
    )  # fmt: skip
    assert {rule.then for event in PLAN.events.values() for rule in event.channel} <= set(PLAN.channels)


def test_only_events_that_lead_nobody_further_have_no_stage() -> None:
    without = {event.name for event in PLAN.events.values() if not event.stage}
    assert without == {
        *(
            "consent_decided",
            "error_shown",
            "script_failed",
            "page_performance_measured",
            "page_scrolled",
            "logged_out",
        ),
    }
    assert all(event.touchpoint for event in PLAN.events.values())


@pytest.mark.parametrize("name", ["order_completed", "store_order_completed"])
def test_an_order_is_a_purchase_the_first_time_and_repeat_after_that(name: str) -> None:
    assert stage_values(PLAN.events[name]) == ("purchase", "repeat")
    assert [bool(rule.when) for rule in PLAN.events[name].stage] == [True, False]


def test_every_property_of_the_dictionary_is_used_and_described() -> None:
    used: set[str] = set()

    def use(name: str, prop: Property) -> None:
        used.add(name)
        for inner in (prop, prop.items):
            for field_name, field in inner.fields.items() if inner else ():
                use(field_name, field)

    for event in PLAN.events.values():
        for name, prop in event.properties.items():
            use(name, prop)
    assert used == set(PLAN.properties)
    for prop in (*PLAN.properties.values(), *PLAN.traits.values()):
        assert prop.description.endswith("."), prop.name
        assert prop.examples, prop.name
        assert prop.type != "string" or prop.enum or prop.pattern or prop.max_length, prop.name


def test_a_field_of_a_list_has_the_type_of_the_column_of_the_same_name() -> None:
    products = PLAN.properties["products"].items
    assert products is not None
    for name, field in products.fields.items():
        assert field.type == PLAN.properties[name].type


def test_what_tells_who_a_person_is_has_its_privacy_class() -> None:
    personal = {prop.name for prop in PLAN.traits.values() if prop.privacy in ("personal", "sensitive")}
    assert personal >= {"email", "name", "phone", "birthday", "income_band", "marital_status", "postal_code"}
    assert PLAN.properties["recipient"].privacy == "personal"
    assert PLAN.properties["order_id"].privacy == "pseudonymous"


def test_the_demographics_of_a_retailer_fit_the_traits() -> None:
    raw = (
        b'{"age_band": "65+", "income_band": "Under 15K", "home_ownership": "Probable Renter", "marital_status": null,'
        b'"household_size": "5+", "household_composition": "2 Adults Kids", "kids_count": "3+"}'
    )
    assert msgspec.structs.asdict(COMPILED.traits.decode(raw))["household_size"] == "5+"


def test_the_journey_names_goals_funnels_segments_targets_and_changes() -> None:
    purchase = PLAN.funnels["purchase"]
    assert [step.event for step in purchase.steps] == [
        "product_viewed", "product_added", "checkout_started", "order_completed",
    ]  # fmt: skip
    assert (purchase.window_seconds, purchase.unit) == (7 * 86400, "person")
    assert [step.optional for step in PLAN.funnels["retail"].steps] == [False, True, False]
    assert PLAN.goals["order"].events == ("order_completed", "store_order_completed")
    assert PLAN.goals["order"].value == "revenue"
    assert any(segment.persona for segment in PLAN.segments.values())
    assert PLAN.targets
    assert PLAN.changes


def test_the_table_stays_of_a_size_that_people_can_read(plan: Plan = PLAN) -> None:
    assert len(table_columns(plan)) < 200
