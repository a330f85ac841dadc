"""The client's network address: who it is behind proxies, and what of it is stored, by the policy of the source.

The address has no column. What a policy leaves of it is `context.ip` in the column `extra`, whether a client said it
or the connection did. By default nothing is left, also not in the original of a refused event.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from ..batch import Line, QuarantineLine
from .original import read_original, written_original
from .receive import Scope
from .wire import Body

Policy = Literal["drop", "truncate", "keep", "hash"]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Of a truncated address: about a provider's district, no household (what other collectors keep).
_KEPT_BITS: Final = {4: 24, 6: 48}


class Proxies(Struct, frozen=True):
    """Whose word on the client's address is believed, and the header they say it in."""

    networks: Sequence[Network] = ()
    header: bytes = b"x-forwarded-for"

    def trusts(self, address: Address | None) -> bool:
        """Whether what this address says of others is believed."""
        return address is not None and any(address in network for network in self.networks)

    def client_of(self, scope: Scope) -> Address | None:
        """The nearest address that is none of our proxies. What stands left of it anybody may have written."""
        peer = scope.get("client")
        address = parsed(peer[0]) if peer else None
        if not self.trusts(address):
            return address
        values = b",".join(value for name, value in scope["headers"] if name == self.header).decode("latin-1")
        for hop in reversed(_hops(values, self.header)):
            address = parsed(hop)
            if not self.trusts(address):
                return address
        return address


class AddressRule(Struct, frozen=True):
    """What of an address is stored. `pseudonym` is for the policy `hash`."""

    policy: Policy
    pseudonym: Callable[[str], str] | None = None

    def stored(self, address: Address | None) -> str | None:
        """What is stored of an address; None if nothing is."""
        if address is None or self.policy == "drop":
            return None
        if self.policy == "truncate":
            network = ipaddress.ip_network((address, _KEPT_BITS[address.version]), strict=False)
            return str(network.network_address)
        if self.policy == "hash":
            assert self.pseudonym is not None  # noqa: S101  (settings are refused without a key)
            return self.pseudonym(str(address))
        return str(address)

    def in_original(self, raw: bytes) -> bytes:
        """The bytes of an event as its original may be kept: addresses as the policy says, all else untouched."""
        if self.policy == "keep" or not _MAY_HOLD_ADDRESS.search(raw):
            return raw
        return _rewritten(raw, self._of_text)

    def _of_text(self, text: object) -> str | None:
        return self.stored(parsed(text)) if isinstance(text, str) else None


DROPPED: Final = AddressRule("drop")


def addresses_said(body: Body) -> list[str | None]:
    """What each event says is its address, or its batch for it. To be asked before they are judged: a judged event has
    lost it."""
    outer = body.context.ip if body.context is not None else None
    events = body.events if body.events is not None else [item.event for item in body.items or ()]
    own = (event.context.ip if event is not None and event.context is not None else None for event in events)
    return [ip if ip and parsed(ip) else outer for ip in own]


def note_addresses(
    lines: Sequence[Line | QuarantineLine], said: Sequence[str | None], rule: AddressRule, client: Address | None
) -> None:
    """Note in each line what is stored of its address: of what was said, or else of the connection's."""
    default = rule.stored(client)
    for line, text in zip(lines, said, strict=True):
        if isinstance(line, Line):
            kept = (rule.stored(parsed(text)) if text else None) or default
            if kept is not None:
                line.extra = _with_address(line.extra, kept)


def parsed(text: str) -> Address | None:
    """An address as headers and clients write it: with a port, in brackets, in quotes, IPv4 inside IPv6."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _hops(values: str, header: bytes) -> list[str]:
    """The addresses of a header in the order in which proxies added them."""
    if header != b"forwarded":
        return [part.strip() for part in values.split(",") if part.strip()]
    hops = []
    for element in _elements(values):
        named = (pair for pair in _PAIR.finditer(element) if pair[1].lower() == "for")
        hops.append(next((pair[2] for pair in named), ""))
    return hops


def _elements(values: str) -> list[str]:
    """The elements of a `Forwarded` header. Read from its end: that is our proxy's and well-formed, and no quote that a
    client left open before it reaches into it. A comma in quotes, of a host that the client said, ends nothing."""
    elements, end, quoted = [], len(values), False
    for at in range(len(values) - 1, -1, -1):
        if values[at] == '"':
            first = at
            while values[first - 1 : first] == "\\":
                first -= 1
            quoted ^= (at - first) % 2 == 0  # else it is escaped
        elif values[at] == "," and not quoted:
            elements.append(values[at + 1 : end])
            end = at
    return [element for element in reversed([*elements, values[:end]]) if element.strip()]


# A name and its value, which may be in quotes and then hold anything.
_PAIR: Final = re.compile(r'(?:^|;)\s*([^\s=;"]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)')


def _with_address(extra: str | None, address: str) -> str:
    if extra is None:
        return _encode({"context": {"ip": address}}).decode()
    document = msgspec.json.decode(extra)
    context = document.get("context")
    document["context"] = {**(context if isinstance(context, dict) else {}), "ip": address}
    return _encode(document).decode()


_encode = msgspec.json.Encoder().encode

# Members of an item that hold the client's address: by the Segment API in its context, RudderStack adds the other.
_IN_CONTEXT: Final = ("ip",)
_IN_ITEM: Final = ("ip", "request_ip")
# A name may be written with escapes; then a backslash and a u say so.
_MAY_HOLD_ADDRESS: Final = re.compile(rb'"(?:request_)?ip"|\\u')


def _in_any_writing(name: str) -> bytes:
    return b"".join(rb"(?:%b|\\u00(?i:%02x))" % (letter.encode(), ord(letter)) for letter in name)


# For bytes that no parser takes: the member by its looks, its value up to where a value can end.
_BY_LOOKS: Final = re.compile(
    rb'("(?:%b)?%b"\s*:\s*)("(?:[^"\\]|\\.)*"?|\[[^]]*\]?|[^,}\s]*)'
    % (_in_any_writing("request_"), _in_any_writing("ip"))
)


def _rewritten(raw: bytes, of_text: Callable[[object], str | None]) -> bytes:
    item, repeats = read_original(raw)
    if item is None:
        return _BY_LOOKS.sub(rb"\1null", raw)
    changed = _replace(item, _IN_ITEM, of_text)
    context = item.get("context")
    if isinstance(context, dict):
        changed = _replace(context, _IN_CONTEXT, of_text) or changed
    if not changed and not repeats:
        return raw
    return written_original(item)


def _replace(document: dict[str, Any], names: Sequence[str], of_text: Callable[[object], str | None]) -> bool:
    changed = False
    for name in names:
        if document.get(name) is not None:
            document[name] = of_text(document[name])
            changed = True
    return changed
