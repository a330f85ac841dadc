"""The generated Python is safe whatever a plan says, clean for the tools people run, and typed as promised."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

import polku
from polku_schemas import Event, Plan, Property, builtin_plan_path, load_plan
from polku_schemas.generate import python_source, python_types_source
from tests.schemas.generate.test_verdicts import NAMES
from tests.schemas.generate.world import SHOP, by_name, event, module_of, plan, prop

BUILTIN = load_plan(builtin_plan_path())

HOSTILE_TEXTS = [
    '"""\nimport os; os.abort()\n"""',
    'ends with a quote"',
    "ends with a backslash\\",
    "\\N{BULLET} \\x41 \\",
    "'''",
    "a\nb\r\nc\u2028d\u0085e\x0cf\x00g",
    "*/ import fs /*",
    "{@link x} @deprecated",
    "\u202edrawkcab\u202c \u200bunseen\ufeff",
    "# noqa\n# type: ignore",
    "${process.exit()} `ls`",
    "x" * 300,
    "@deprecated",
    "привет 你好 😀",
]


def hostile(*texts: str) -> Plan:
    """A plan that says each of the texts wherever a plan may say anything; names cannot be free."""
    said = [text or "x" for text in texts]

    def say(number: int) -> str:
        return said[number % len(said)]

    # Every name a class body uses is a property; each refers to types after the one that hides them.
    properties = [
        prop(name, kind, say(number), examples=(say(number),), pattern=pattern, default=default, enum=enum)
        for number, (name, (kind, pattern, default, enum)) in enumerate(
            zip(
                NAMES,
                [
                    ("date", None, "2026-01-31", ()),
                    ("date-time", None, "2026-01-31T12:00:00Z", ()),
                    ("string", None, say(1), ()),
                    ("integer", None, None, ()),
                    ("number", None, 1, ()),
                    ("boolean", None, None, ()),
                    ("string", None, None, tuple(dict.fromkeys(said))),
                    ("string", re.escape(say(2)), None, ()),
                    ("uuid", None, "00000000-0000-0000-0000-000000000007", ()),
                    *[("string", None, None, ())] * len(NAMES),
                ],
                strict=False,
            )
        )
    ]
    lists = [
        prop("products", "array", say(3), items=prop("products", "object", say(4), fields=by_name(properties[:6]))),
        prop("tags", "array", say(5), items=prop("tags", "string", say(6))),
    ]
    other = event(
        "other", *[replace(one, required=one.default is None) for one in properties], *lists, description=say(7)
    )
    made = plan(other, traits=[prop("type", "string", say(8))])
    return replace(
        made, name=say(9), version=say(10), description=say(11), events={"other": replace(other, owner=say(12))}
    )


class Unsaid(ast.NodeTransformer):
    """A module without anything it says: what is left is what it does."""

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return ast.Constant("") if isinstance(node.value, str) else node


def does(source: str) -> str:
    return ast.dump(Unsaid().visit(ast.parse(source)))


@given(st.lists(st.sampled_from(HOSTILE_TEXTS) | st.text(max_size=30).filter(str.strip), min_size=1, max_size=13))
@settings(max_examples=30)
def test_nothing_a_plan_says_becomes_code(texts: list[str]) -> None:
    same = [f"said {number}" for number in range(len(set(texts)))]
    harmless = hostile(*[same[sorted(set(texts)).index(text)] for text in texts])
    for write in (python_source, python_types_source):
        source = write(hostile(*texts))
        assert does(source) == does(write(harmless))
        assert source.encode()
        assert not re.search("[\u202a-\u202e\u2066-\u2069\u2028\u2029\x00\ufeff]", source)


def test_hostile_text_is_kept_as_it_is_where_it_counts() -> None:
    module = module_of(python_source(hostile(*HOSTILE_TEXTS)), "generated_hostile")
    values = {
        "date": "2026-01-31", "datetime": "2026-01-31T12:00:00Z", "int": 1, "float": 1.5, "bool": True,
        "list": HOSTILE_TEXTS[0], "typed": HOSTILE_TEXTS[2], "self": "00000000-0000-0000-0000-000000000007",
    }  # fmt: skip
    rest = {name: "x" for name in NAMES if name not in (*values, "str", "products")}
    made = module.Other(**values, **rest)
    assert made.str == HOSTILE_TEXTS[1]
    assert made.list == HOSTILE_TEXTS[0]
    for text in HOSTILE_TEXTS:
        assert module.Other(**values | {"list": text or "x"}, **rest).list == text
    with pytest.raises(polku.InvalidValue):
        module.Other(**values | {"typed": "nothing of the kind"}, **rest)


def reordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: reordered(value[name]) for name in reversed(value)}
    if isinstance(value, Property):
        return replace(value, fields=reordered(value.fields), items=reordered(value.items))
    if isinstance(value, Event):
        return replace(value, properties=reordered(value.properties))
    if isinstance(value, Plan):
        parts = {name: reordered(getattr(value, name)) for name in ("properties", "traits", "events")}
        return replace(value, **parts)
    return value


@pytest.mark.parametrize("write", [python_source, python_types_source])
def test_the_order_of_a_plan_plays_no_part(write: Any) -> None:
    assert write(reordered(BUILTIN)) == write(BUILTIN)
    assert write(reordered(SHOP)) == write(SHOP)


def test_the_bytes_depend_on_nothing_but_the_plan() -> None:
    code = "import sys; from polku_schemas.generate import *; from polku_schemas import *\n"
    code += "plan = load_plan(builtin_plan_path())\n"
    code += "for text in (python_source(plan), python_types_source(plan), typescript_source(plan)):\n"
    code += "    sys.stdout.buffer.write(text.encode())"
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, check=True
        ).stdout
        for environment in (
            {"PYTHONHASHSEED": "1", "LC_ALL": "C", "TZ": "Asia/Tokyo"},
            {"PYTHONHASHSEED": "2", "LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONUTF8": "1"},
        )
    ]
    assert runs[0] == runs[1]
    assert len(runs[0]) > 100_000


RIGHT = """\
from datetime import UTC, date, datetime
from uuid import UUID

import polku
from shop import Address, Currency, LoggedOut, OrderCompleted, PageViewed, Product, ScreenViewed, Traits

order = OrderCompleted(
    order_id="O-1",
    revenue=12.5,
    products=[Product(product_id="P-1", quantity=2)],
    coupon=None,
    delivered_at=datetime(2026, 1, 31, tzinfo=UTC),
    promised_on=date(2026, 1, 31),
    reference=UUID(int=7),
    rating=2,
    tags=["new"],
    address=Address(city="Turku"),
)
currency: Currency = "SEK"
shown: str = order.order_id
polku.track(order, user_id="u")
polku.track(LoggedOut(), anonymous_id="a")
polku.track(PageViewed(page_type="home"), user_id="u")
polku.page("Home", PageViewed(), user_id="u")
polku.screen("Main", ScreenViewed(screen_name="main"), user_id="u")
polku.identify("u", Traits(email="a@b.c", birthday=date(2000, 1, 31)))
polku.Client("k", "http://c").track(order, user_id="u", message_id="m")
"""

WRONG = """\
import polku
from shop import LoggedOut, OrderCompleted, PageViewed, Product, ScreenViewed, Traits

products = [Product(product_id="P-1")]
OrderCompleted(order_id="O-1", revenue=1, products=products)  # call-arg: coupon is required
OrderCompleted("O-1", revenue=1, products=products, coupon=None)  # call-arg misc: by name only
OrderCompleted(order_id=1, revenue=1, products=products, coupon=None)  # arg-type
OrderCompleted(order_id="O-1", revenue="1", products=products, coupon=None)  # arg-type
OrderCompleted(order_id="O-1", revenue=1, products=products, coupon=None, currency="EURO")  # arg-type
OrderCompleted(order_id="O-1", revenue=1, products=products, coupon=None, rating=4)  # arg-type
OrderCompleted(order_id="O-1", revenue=1, products=products, coupon=None, promised_on="2026-01-31")  # arg-type
OrderCompleted(order_id="O-1", revenue=1, products=products, coupon=None, reference="x")  # arg-type
OrderCompleted(order_id="O-1", revenue=1, products=products, coupon=None, cupon="x")  # call-arg: no such name
OrderCompleted(order_id="O-1", revenue=1, products=[{"product_id": "P-1"}], coupon=None)  # list-item
Product(product_id="P-1", quantity=1.5)  # arg-type
products[0].price = 5  # misc: frozen
polku.track(products[0])  # arg-type: not an event
polku.track(Traits())  # arg-type
polku.page("Home", LoggedOut())  # arg-type: not a page
polku.screen("Main", PageViewed())  # arg-type
polku.identify("u", PageViewed())  # arg-type
ScreenViewed()  # call-arg
"""

TYPES = """\
from datetime import UTC, datetime
from shop_types import EventName, OrderCompleted, Product

product: Product = {"product_id": "P-1"}
order: OrderCompleted = {"order_id": "O-1", "revenue": 1, "products": [product], "coupon": None}
order["delivered_at"] = datetime(2026, 1, 31, tzinfo=UTC)
order["promised_on"] = "2026-01-31"
name: EventName = "order_completed"
wrong: OrderCompleted = {"order_id": "O-1", "revenue": 1, "products": []}  # typeddict-item
order["currency"] = "EURO"  # typeddict-item
order["cupon"] = "x"  # typeddict-unknown-key
name = "order_complete"  # assignment
"""


def expected_errors(file: str, text: str) -> set[tuple[str, int, str]]:
    marks = [(number, line.partition("  # ")[2].partition(":")[0]) for number, line in enumerate(text.splitlines(), 1)]
    return {(file, number, code) for number, codes in marks for code in codes.split()}


def test_a_type_checker_finds_every_wrong_use_and_nothing_else(tmp_path: Path) -> None:
    files = {
        "shop.py": python_source(SHOP),
        "shop_types.py": python_types_source(SHOP),
        "builtin_events.py": python_source(BUILTIN),
        "builtin_types.py": python_types_source(BUILTIN),
        "hostile.py": python_source(hostile(*HOSTILE_TEXTS)),
        "hostile_types.py": python_types_source(hostile(*HOSTILE_TEXTS)),
        "right.py": RIGHT,
        "wrong.py": WRONG,
        "types_used.py": TYPES,
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir=cache", "--no-pretty", *files],
        cwd=tmp_path,
        env=os.environ | {"MYPYPATH": str(Path(polku.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.findall(r"^(\w+\.py):(\d+): error: .*\[([\w-]+)\]$", done.stdout, re.MULTILINE)
    assert {(file, int(line), code) for file, line, code in found} == (
        expected_errors("wrong.py", WRONG) | expected_errors("types_used.py", TYPES)
    ), done.stdout + done.stderr


def test_linters_and_formatters_have_nothing_to_do(tmp_path: Path) -> None:
    """Also where somebody removes the lines that tell them to look away."""
    for name, made in (("builtin", BUILTIN), ("shop", SHOP), ("hostile", hostile(*HOSTILE_TEXTS))):
        (tmp_path / f"{name}.py").write_text(python_source(made), encoding="utf-8")
        (tmp_path / f"{name}_types.py").write_text(python_types_source(made), encoding="utf-8")
    for command in (["check", "--ignore-noqa"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--isolated", str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_generated_events_are_sent_with_the_sdk() -> None:
    module = module_of(python_source(SHOP), "generated_sent")
    transport = polku.MemoryTransport()
    with polku.Client("k", "http://c", transport=transport, strict=True) as client:
        order = {"order_id": "O-1", "revenue": 1, "products": [module.Product(product_id="P-1")], "coupon": None}
        client.track(module.OrderCompleted(**order), user_id="u")
        client.track(module.PageViewed(page_type="home"), user_id="u")
        client.identify("u", module.Traits(email="aino@a.example"))
    defaults = {"currency": "EUR", "gift": False, "returned_until": "2026-12-31T23:59:59+02:00"}
    assert [(item["type"], item.get("properties") or item.get("traits")) for item in transport.events] == [
        ("track", order | {"products": [{"product_id": "P-1"}]} | defaults),
        ("page", {"page_type": "home"}),
        ("identify", {"email": "aino@a.example"}),
    ]


def test_a_generated_module_knows_nothing_of_the_plan() -> None:
    imported = {
        name
        for node in ast.walk(ast.parse(python_source(SHOP)))
        if isinstance(node, ast.ImportFrom)
        for name in [node.module]
    }
    assert imported == {"datetime", "typing", "uuid", "polku"}
