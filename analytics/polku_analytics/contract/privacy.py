"""What values say about persons: a guess at the privacy class, and examples in which nobody can be recognised.

A guess errs on the side of caution, and a draft marks it for review: nobody can tell from values alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from polku_analytics.contract.profile import Profile
from polku_analytics.contract.shapes import looks_like_a_person, personal_shape
from polku_schemas.model import Privacy, Property

SHARED_BY: Final = 5
"""A text that came so often is shown as it is, if nothing else speaks against it; a rarer one may be somebody's."""

_SENSITIVE: Final = frozenset(
    """
    password passwd pwd secret token jwt auth authorization apikey credential cvv cvc pin ssn passport iban bic salary
    income health diagnosis medical religion ethnicity politics sexuality latitude longitude lat lng lon geo
    coordinates birthday birthdate birth dob
    """.split()  # noqa: SIM905 - a list of words reads best as words
)
_PERSONAL: Final = frozenset(
    """
    email mail phone mobile telephone tel msisdn fax firstname lastname fullname surname forename nickname username
    login address street postcode postal zip zipcode city ip gender sex age avatar photo signature recipient
    comment message note notes feedback transcript answer remark body
    """.split()  # noqa: SIM905
)
_AFTER_PERSONAL: Final = frozenset(["address", "number", "no", "code", "line", "value", "hash", "1", "2", "3"])
"""Words that may follow a personal one: `phone_number`, `zip_code`, `address_line_2`."""

_PEOPLE: Final = frozenset(
    """
    user customer person member account visitor contact client household anonymous device session order cart checkout
    wishlist ticket case subscription referral invite invitation payment transaction invoice booking appointment
    contract policy patient employee agent lead distinct email message
    """.split()  # noqa: SIM905
)
_NAMED: Final = frozenset(
    [
        "first",
        "last",
        "full",
        "given",
        "family",
        "middle",
        "maiden",
        "user",
        "customer",
        "contact",
        "person",
        "billing",
        "shipping",
    ]
)
_KEYS: Final = frozenset(["id", "ids", "uuid", "guid", "key", "number", "no", "ref", "reference", "hash"])
_SENSITIVE_SHAPES: Final = ("card", "IBAN", "token")

_TELLING_SHARE: Final = 0.02
"""Of the different texts: so many with something personal in them make the property personal."""

_FREE_WORDS: Final = 5
"""So many words a text, on average, are prose, in which anything may stand."""


class Guess(Struct, frozen=True):
    """A privacy class and where it comes from."""

    privacy: Privacy
    reason: str


def guess_privacy(name: str, profile: Profile, *, is_trait: bool = False) -> Guess:
    """What the values of a name say about a person, by the words of the name (in snake case) and their looks."""
    words = name.split("_")
    if not _SENSITIVE.isdisjoint([*words, name]):
        return Guess("sensitive", "its name")
    if _is_personal(words) or (words[-1] == "name" and (is_trait or not _NAMED.isdisjoint(words))):
        return Guess("personal", "its name")
    texts = _texts(profile)
    shapes = [shape for text in texts if (shape := personal_shape(text))]
    if shapes and len(shapes) >= _TELLING_SHARE * len(texts):
        most = max(sorted(set(shapes)), key=shapes.count)
        return Guess("sensitive" if most in _SENSITIVE_SHAPES else "personal", f"values like {_article(most)} {most}")
    is_varied = len(texts) >= SHARED_BY and len(texts) * 2 > profile.values
    if words[-1] in _KEYS and (is_varied or not _PEOPLE.isdisjoint(words)):
        return Guess("pseudonymous", "its name")
    if texts and sum(len(text.split()) for text in texts) >= _FREE_WORDS * len(texts):
        return Guess("personal", "free text")
    if is_varied and sum(map(looks_like_a_person, texts)) > len(texts) * 0.8:
        return Guess("personal", "values like names of people")
    if profile.shapes and "uuid" in profile.shapes and is_varied:
        return Guess("pseudonymous", "values that single out")
    if is_trait:
        return Guess("pseudonymous", "said of a person")
    return Guess("none", "nothing personal was seen")


def example_of(value: Any, prop: Property, profile: Profile | None) -> Any:
    """A value as a plan may show it: as it came where many share it and nothing is personal, else its shape."""
    if isinstance(value, list):
        items = profile.items if profile is not None and profile.items is not None else profile
        return [example_of(item, prop.items, items) for item in value[:2]] if prop.items is not None else []
    if isinstance(value, dict):
        fields = {} if profile is None else profile.fields
        return {
            name: example_of(member, prop.fields[name], fields.get(name))
            for name, member in value.items()
            if name in prop.fields and member is not None
        }
    if prop.privacy in ("personal", "sensitive") or _is_telling(value, prop, profile):
        value = masked(value, prop)
    # A whole number beyond 64 bits is a number to a plan, but no integer.
    return float(value) if prop.type == "number" and type(value) is int else value


def masked(value: Any, prop: Property) -> Any:
    """A value of the same shape that says nothing: the same for every value of this shape."""
    if isinstance(value, str):
        fixed = _STAND_INS.get(prop.format or prop.type)
        return fixed or _masked_text(value)
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return int(f"1{'0' * (len(str(abs(value))) - 1)}") if value else 0
    return float(masked(int(value), prop)) if isinstance(value, float) else value


_STAND_INS: Final = {
    "date": "2000-01-01",
    "date-time": "2000-01-01T00:00:00Z",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "email": "xxxx@example.com",
    "uri": "https://example.com/xxxx",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
}
"""Addresses that are reserved for examples, and times and keys of nobody."""

_EMAIL: Final = re.compile(r"[^\s@]+@[^\s@]+")


def _masked_text(text: str) -> str:
    parts = []
    end = 0
    for found in _EMAIL.finditer(text):
        parts += [_blotted(text[end : found.start()]), "xxxx@example.com"]
        end = found.end()
    return "".join([*parts, _blotted(text[end:])])


def _blotted(text: str) -> str:
    """Letters as x or X, digits as 0; what is neither stays if it is plain ASCII."""
    return "".join(
        ("0" if mark.isdigit() else "X" if mark.isupper() else "x" if mark.isalpha() or not mark.isascii() else mark)
        for mark in text
    )


def _is_personal(words: Sequence[str]) -> bool:
    """Whether a name ends with a personal word, or with one and what may follow it."""
    last = next((index for index in range(len(words), 1, -1) if words[index - 1] not in _AFTER_PERSONAL), 1)
    return not _PERSONAL.isdisjoint(words[last - 1 :])


def _is_telling(value: Any, prop: Property, profile: Profile | None) -> bool:
    if isinstance(value, bool) or prop.type in ("date", "date-time"):
        return False
    if personal_shape(str(value)) or len(str(value).split()) >= _FREE_WORDS:
        return True
    if isinstance(value, str):
        return prop.privacy == "pseudonymous" or profile is None or profile.distinct.get(value, 0) < SHARED_BY
    return prop.privacy == "pseudonymous"


def _texts(profile: Profile) -> list[str]:
    held = profile.items if profile.items is not None else profile
    return [value if isinstance(value, str) else str(value) for value in held.distinct]


def _article(word: str) -> str:
    return "an" if word[0] in "aeiouI" else "a"
