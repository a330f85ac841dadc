"""The formats a string may be given: one regular expression each, so that every checker agrees on what fits.

They are written in what Python, ECMA-262 and Rust read alike: explicit ASCII classes, non-capturing groups, no flags.
No two parts of one can take the same text in different ways, so that refusing a long text costs time in proportion to
its length. They are at most as wide as the standards they name: a text that fits here fits a strict reader of the
standard, except for host names of other scripts (`xn--…`), which no expression can decode.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from polku_schemas.model import Property, StringFormat


class Format(Struct, frozen=True):
    """One format: its expression, which must match the whole text, and how it is named to a person."""

    expression: str
    expected: str

    @property
    def pattern(self) -> str:
        """The expression for Python, tied to both ends. (`$` would let a line break pass.)"""
        return rf"\A(?:{self.expression})\Z"

    @property
    def ecma_pattern(self) -> str:
        """The expression for a JSON Schema, tied to both ends."""
        return f"^(?:{self.expression})$"


# RFC 3986, 3.2.2. The address parts of a URI are also formats of their own.
_OCTET: Final = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4: Final = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_GROUP: Final = "[0-9A-Fa-f]{1,4}"
_LAST_GROUPS: Final = f"(?:{_GROUP}:{_GROUP}|{_IPV4})"
_IPV6: Final = "|".join(
    (
        f"(?:{_GROUP}:){{6}}{_LAST_GROUPS}",
        f"::(?:{_GROUP}:){{5}}{_LAST_GROUPS}",
        # `::` after at most n + 1 groups, in front of what must then be left of the eight.
        *(f"(?:(?:{_GROUP}:){{0,{n}}}{_GROUP})?::(?:{_GROUP}:){{{4 - n}}}{_LAST_GROUPS}" for n in range(5)),
        f"(?:(?:{_GROUP}:){{0,5}}{_GROUP})?::{_GROUP}",
        f"(?:(?:{_GROUP}:){{0,6}}{_GROUP})?::",
    )
)

# RFC 1123, 2.1: letters, digits and inner hyphens, 63 characters a label, 253 a name.
_LABEL: Final = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOSTNAME: Final = rf"(?!.{{254}}){_LABEL}(?:\.{_LABEL})*"

# RFC 5321, 4.1.2, without quoted names and address literals, which nobody has: 64 characters before the @, 254 in all.
_ATOM: Final = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_EMAIL: Final = rf"(?!.{{255}})(?=[^@]{{1,64}}@){_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*"


def _characters(allowed: str) -> str:
    """Any number of the allowed characters and of bytes written as %XX."""
    return f"[{allowed}]*(?:%[0-9A-Fa-f]{{2}}[{allowed}]*)*"


# RFC 3986, 3: a URI with its scheme, as the RFC's grammar has it. Looking for an @ first spares most hosts to be read
# twice.
_NAME: Final = r"A-Za-z0-9._~!$&'()*+,;=\-"
_AUTHORITY: Final = (
    rf"(?:(?=[^/?#@]*@){_characters(_NAME + ':')}@)?"
    rf"(?:\[(?:{_IPV6}|[Vv][0-9A-Fa-f]+\.[{_NAME}:]+)\]|{_characters(_NAME)})"
    r"(?::[0-9]*)?"
)
_PATH: Final = _characters(_NAME + ":@/")
_REST: Final = _characters(_NAME + ":@/?")
_URI: Final = rf"[A-Za-z][A-Za-z0-9+.-]*:(?://{_AUTHORITY}(?:/{_PATH})?|(?!//){_PATH})(?:\?{_REST})?(?:#{_REST})?"

FORMATS: Final[dict[StringFormat, Format]] = {
    "email": Format(_EMAIL, "an e-mail address such as name@example.com"),
    "uri": Format(_URI, "a URI such as https://example.com/path"),
    "hostname": Format(_HOSTNAME, "a host name such as www.example.com"),
    "ipv4": Format(_IPV4, "an IPv4 address such as 192.0.2.1"),
    "ipv6": Format(_IPV6, "an IPv6 address such as 2001:db8::1"),
}
"""Every format of the plan."""

_FLAG_LETTERS: Final = {re.ASCII: "a", re.IGNORECASE: "i", re.MULTILINE: "m", re.DOTALL: "s", re.VERBOSE: "x"}
_LEADING_FLAGS: Final = re.compile(r"(?:\(\?[aiLmsux]+\))+")


def string_pattern(prop: Property) -> str | None:
    """One pattern that finds something in exactly the strings that fit the property's format and its pattern."""
    if prop.format is None:
        return prop.pattern
    wanted = FORMATS[prop.format]
    if prop.pattern is None:
        return wanted.pattern
    # The format looks ahead from the start, then the pattern is searched from there on.
    return rf"\A(?=(?:{wanted.expression})\Z)[\s\S]*?{_as_group(prop.pattern)}"


def _as_group(pattern: str) -> str:
    """A pattern as part of a longer one: flags for the whole of it become flags of a group."""
    flags = re.compile(pattern).flags
    letters = "".join(letter for flag, letter in _FLAG_LETTERS.items() if flags & flag)
    body = _LEADING_FLAGS.sub("", pattern, count=1) if pattern.startswith("(?") else pattern
    end = "\n" if flags & re.VERBOSE else ""  # closes a comment
    return f"(?{letters}:{body}{end})"
