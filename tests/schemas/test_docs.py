"""The plan files shown in docs/plan.md are a plan that loads."""

import re
from collections.abc import Callable
from pathlib import Path

from polku_schemas import builtin_plan_path, load_plan

PAGE = (Path(__file__).parents[2] / "docs" / "plan.md").read_text(encoding="utf-8")
BUILTIN = builtin_plan_path()


def test_the_examples_of_the_page_are_a_plan(write_plan: Callable[..., Path]) -> None:
    price, products, order, journey = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    scalars = "".join(
        f"{name}: {{type: {kind}, description: Shown., privacy: none}}\n"
        for name, kind in [("product_id", "string"), ("quantity", "integer"), ("order_id", "string"),
                           ("revenue", "number"), ("coupon", "string")]
    )  # fmt: skip
    files = {
        "plan.yaml": (BUILTIN / "plan.yaml").read_text(encoding="utf-8"),
        "properties.yaml": scalars + price + products,
        "traits.yaml": (BUILTIN / "traits.yaml").read_text(encoding="utf-8"),
        "events/paid.yaml": None,
        "events/order_completed.yaml": order,
    }
    for name in ("store_order_completed", "campaign_received", "coupon_received"):
        files[f"events/{name}.yaml"] = order.replace("order_completed", name).replace("Order Completed", name.title())
    parts = re.split(r"# (\w+\.yaml):", journey)[1:]
    files |= {f"journey/{name}": "# " + text for name, text in zip(parts[::2], parts[1::2], strict=True)}
    plan = load_plan(write_plan(files))
    assert (len(plan.goals), len(plan.funnels), len(plan.segments), len(plan.targets), len(plan.changes)) == (1,) * 5


def test_the_page_counts_the_events_of_the_builtin_plan() -> None:
    assert f"(`schemas/plan`, {len(load_plan(BUILTIN).events)} events)" in PAGE
