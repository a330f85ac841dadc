"""An example event for a draft: one that really came, with everything personal masked, valid in the drafted plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from polku_analytics.contract.collect import Seen
from polku_analytics.contract.entries import valid_value
from polku_analytics.contract.privacy import example_of
from polku_schemas.model import Property


def event_example(seen: Seen, uses: Iterable[tuple[str, str, bool]], props: Mapping[str, Property]) -> dict[str, Any]:
    """The values of an example; `uses` are name, sent name and whether it is required.

    A required property for which no valid value can be given is missing.
    """
    example = {}
    for name, sent, required in uses:
        prop = props[name]
        came = seen.sample.get(sent)
        shown = None if came is None else example_of(came, prop, seen.profile.fields.get(sent))
        value = valid_value(prop, shown, *((*prop.examples, _made_up(prop)) if required else ()))
        if value is not None:
            example[name] = value
    return example


_MADE_UP: Final[Mapping[str, Any]] = {
    "string": "text",
    "integer": 1,
    "number": 1.0,
    "boolean": False,
    "date": "2000-01-01",
    "date-time": "2000-01-01T00:00:00Z",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def _made_up(prop: Property) -> Any:
    if prop.items is not None:
        return [_made_up(prop.items)] * max(prop.min_length or 0, 1)
    if prop.type == "object":
        return {name: _made_up(field) for name, field in prop.fields.items() if field.required}
    if prop.enum:
        return prop.enum[0]
    return _MADE_UP[prop.type] if prop.minimum is None else prop.minimum
