"""Whether a `when` can ever hold, and whether one holds wherever another does.

Pure, and it errs on one side only: what it calls impossible is impossible, what it calls implied is implied. It knows
what the plan says of each name (enum, bounds, lengths, patterns), and that an absent value fulfils no comparison.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from msgspec import Struct

from polku_schemas.lint.constraints import value_problem
from polku_schemas.lint.like import text_exists
from polku_schemas.model import Comparison, Property, RuleLiteral
from polku_schemas.rules import Kind, holds
from polku_schemas.tolerant import INT64_MAX, INT64_MIN

_EXCLUSIVE_FACTS: Final = ("first_order", "repeat_order")
"""A first order is not preceded by an order."""


class Domain(Struct, frozen=True):
    """The values a name can have where it is present."""

    kind: Kind
    among: tuple[RuleLiteral, ...] | None = None
    """All values, where they are few."""
    low: int | float | None = None
    high: int | float | None = None
    shortest: int = 0
    longest: int | None = None
    admits: Callable[[RuleLiteral], bool] = lambda _: True
    """Whether one value fits everything that is known of the name, patterns included."""
    always: bool = False
    """Whether the name is present in every document."""


Domains = Mapping[str, Domain]


def domain_of(prop: Property) -> Domain | None:
    """What a scalar property of an event can hold; None for what rules cannot compare."""
    if prop.type not in ("string", "integer", "number", "boolean"):
        return None
    among: tuple[RuleLiteral, ...] | None = prop.enum or None
    return Domain(
        kind=prop.type,
        among=(True, False) if prop.type == "boolean" else among,
        low=prop.minimum,
        high=prop.maximum,
        shortest=prop.min_length or 0,
        longest=prop.max_length,
        admits=lambda value: value_problem(prop, value) is None,
        always=prop.required and not prop.nullable,
    )


def clash(when: Sequence[Comparison], domains: Domains) -> tuple[Comparison, ...]:
    """Comparisons that can never hold together, as few as can be named; empty where `when` can hold."""
    for name in dict.fromkeys(comparison.name for comparison in when):
        of_name = [comparison for comparison in when if comparison.name == name]
        if not _possible(domains[name], [(comparison, True) for comparison in of_name]):
            few = [*itertools.combinations(of_name, 1), *itertools.combinations(of_name, 2), tuple(of_name)]
            return next(some for some in few if not _possible(domains[name], [(one, True) for one in some]))
    facts = [Comparison(name, "=", True) for name in _EXCLUSIVE_FACTS]
    exclusive = tuple(comparison for comparison in when if comparison in facts)
    return exclusive if len(set(exclusive)) == len(facts) else ()


def implies(stronger: Sequence[Comparison], weaker: Sequence[Comparison], domains: Domains) -> bool:
    """Whether `weaker` holds in every document in which `stronger` does."""
    for comparison in weaker:
        domain = domains[comparison.name]
        same_name = [(other, True) for other in stronger if other.name == comparison.name]
        if not same_name and not domain.always:
            return False
        if _possible(domain, [*same_name, (comparison, False)]):
            return False
    return True


def unknown_literals(comparison: Comparison, domain: Domain) -> tuple[RuleLiteral, ...]:
    """The literals that the name is compared with for equality and can never have."""
    if comparison.op not in ("=", "!=", "in") or domain.kind == "boolean":
        return ()
    return tuple(literal for literal in _literals(comparison) if not domain.admits(literal))


_Term = tuple[Comparison, bool]
"""A comparison, and whether it must hold or must not."""


def _possible(domain: Domain, terms: Sequence[_Term]) -> bool:
    """Whether a value of the domain makes each comparison hold or not, as its term says."""
    candidates = _candidates(domain, terms)
    if candidates is not None:
        return any(
            domain.admits(value) and all(_holds(comparison, value) == wanted for comparison, wanted in terms)
            for value in candidates
        )
    if domain.kind == "string":
        return _text_possible(domain, terms)
    return _number_possible(domain, terms)


def _candidates(domain: Domain, terms: Sequence[_Term]) -> Sequence[RuleLiteral] | None:
    """The few values of which one must be it; None where there are many."""
    if domain.among is not None:
        return domain.among
    for comparison, wanted in terms:
        names_values = comparison.op in ("=", "in") if wanted else comparison.op == "!="
        is_whole_text = comparison.op == "like" and wanted and not {"%", "_"} & set(str(comparison.literal))
        if names_values or is_whole_text:
            return _literals(comparison)
    return None


def _number_possible(domain: Domain, terms: Sequence[_Term]) -> bool:
    """Both kinds of number are discrete: an open bound is the closed one beside it."""
    integer = domain.kind == "integer"
    low: int | float = INT64_MIN if integer else -sys.float_info.max
    high: int | float = INT64_MAX if integer else sys.float_info.max
    low = low if domain.low is None else max(low, domain.low)
    high = high if domain.high is None else min(high, domain.high)
    if not integer:
        low, high = float(low), float(high)
    excluded: set[RuleLiteral] = set()
    for comparison, wanted in terms:
        op = comparison.op if wanted else _OPPOSITES.get(comparison.op, "!=")
        literal = cast("Any", comparison.literal)
        if op == "<":
            high = min(high, _beside(literal, -1))
        elif op == "<=":
            high = min(high, literal)
        elif op == ">":
            low = max(low, _beside(literal, 1))
        elif op == ">=":
            low = max(low, literal)
        else:
            excluded.update(_literals(comparison))
    while low <= high and low in excluded:
        low = _beside(low, 1)
    return low <= high


_OPPOSITES: Final = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}


def _text_possible(domain: Domain, terms: Sequence[_Term]) -> bool:
    matching = [str(comparison.literal) for comparison, wanted in terms if comparison.op == "like" and wanted]
    not_matching = [str(comparison.literal) for comparison, wanted in terms if comparison.op == "like" and not wanted]
    # The other literals are excluded. One without % and _ is a pattern for itself; leaving the rest out only finds
    # more texts.
    excluded = [str(literal) for comparison, _ in terms if comparison.op != "like" for literal in _literals(comparison)]
    not_matching += [literal for literal in excluded if not {"%", "_"} & set(literal)]
    return text_exists(matching, not_matching, domain.shortest, domain.longest)


def _beside(number: int | float, direction: int) -> int | float:
    """The next number of the same kind, up or down."""
    return number + direction if isinstance(number, int) else math.nextafter(number, math.inf * direction)


def _holds(comparison: Comparison, value: RuleLiteral) -> bool:
    return holds((comparison,), lambda _: value)


def _literals(comparison: Comparison) -> tuple[RuleLiteral, ...]:
    literal = comparison.literal
    return literal if isinstance(literal, tuple) else (literal,)
