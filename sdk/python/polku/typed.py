"""Typed events: the bases of the classes that `polku plan generate` writes into a program.

    class OrderCompleted(typed.Event, name="order_completed"):
        order_id: Annotated[str, typed.text(min_length=1)]
        revenue: Annotated[float, typed.number(minimum=0)]
        coupon: str | None = None

    polku.track(OrderCompleted(order_id="O-1", revenue=12.5), user_id="user-1")

The annotations say what the tracking plan says; msgspec checks them in C when an event is made. What it refuses is
looked at once more by `refusal.py`, which takes it after all or says what is wrong as the collector would.
"""

from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeVar, dataclass_transform, get_type_hints

import msgspec

from polku.errors import InvalidValue
from polku.event import object_types
from polku.report import Reporter, calling_place

T = TypeVar("T")

FLOAT_MAX: Final = 1.7976931348623157e308
"""The largest finite number; a larger one, and NaN, has no JSON form."""
INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
"""Integers beyond these have no column."""


class _Checked(msgspec.StructMeta):
    """Makes calling a class check the arguments; the classes themselves stay plain annotations."""

    def __new__(
        mcs, class_name: str, bases: tuple[type, ...], namespace: dict[str, Any], /, *, name: str = "", **options: Any
    ) -> Any:
        namespace["_name"] = name or class_name
        cls = super().__new__(mcs, class_name, bases, namespace, kw_only=True, **options)
        object_types.add(cls)
        return cls

    if not TYPE_CHECKING:  # a type checker goes by the fields, as of any dataclass

        def __call__(self, /, *positional, **values):
            if positional:
                raise TypeError(f"{self.__name__} takes its properties by name")
            try:
                return msgspec.convert(values, self)
            except (msgspec.ValidationError, ValueError):  # a ValueError from a Decimal that is no number
                return _looked_at(self, values)

    @property
    def __signature__(self) -> Signature:
        """What `help` and interactive completion show: the types without their constraints."""
        hints = get_type_hints(self)
        return Signature(
            [
                Parameter(
                    field.name, Parameter.KEYWORD_ONLY, default=_shown_default(field), annotation=hints[field.name]
                )
                for field in _fields(self)
            ]
        )


# gc=False: values form trees, with nothing for the cycle collector to find.
@dataclass_transform(kw_only_default=True, frozen_default=True)
class Object(
    msgspec.Struct,
    metaclass=_Checked,
    frozen=True,
    omit_defaults=True,
    repr_omit_defaults=True,
    forbid_unknown_fields=True,
    gc=False,
):
    """An object inside an event, such as one product of a list. Raises `InvalidValue` when made of wrong values."""

    _name: ClassVar[str]
    """What messages call it: the name of the event, or of the class."""
    _root: ClassVar[str] = "$"
    """Where its fields stand in what is sent, for messages."""

    if TYPE_CHECKING:

        def __init_subclass__(cls, *, name: str = "") -> None: ...


class Traits(Object):
    """What is known about a person, for `identify`."""

    _root = "$.traits"


class Event(Object):
    """An event of the plan, for `track`."""

    _root = "$.properties"
    _call: ClassVar[Literal["track", "page", "screen"]] = "track"


class PageEvent(Event):
    """The event of the plan that a `page` call is."""

    _call = "page"


class ScreenEvent(Event):
    """The event of the plan that a `screen` call is."""

    _call = "screen"


def text(
    *,
    min_length: int | None = None,
    max_length: int | None = None,
    pattern: str | None = None,
    expected: str = "",
    private: bool = False,
) -> msgspec.Meta:
    """Characters of a string, and what must be found in it; `expected` says in words what `pattern` stands for."""
    return msgspec.Meta(
        min_length=min_length, max_length=max_length, pattern=pattern, extra=_extra(private, expected=expected)
    )


def number(*, minimum: float = -FLOAT_MAX, maximum: float = FLOAT_MAX, private: bool = False) -> msgspec.Meta:
    """A finite number between two bounds, both included."""
    return msgspec.Meta(ge=minimum, le=maximum, extra=_extra(private))


def integer(*, minimum: int = INT64_MIN, maximum: int = INT64_MAX, private: bool = False) -> msgspec.Meta:
    """A whole number of 64 bits between two bounds, both included."""
    return msgspec.Meta(ge=minimum, le=maximum, extra=_extra(private))


def moment(*, private: bool = False) -> msgspec.Meta:
    """A `datetime` with a time zone."""
    return msgspec.Meta(tz=True, extra=_extra(private))


def items(*, min_length: int | None = None, max_length: int | None = None, private: bool = False) -> msgspec.Meta:
    """The length of a list."""
    return msgspec.Meta(min_length=min_length, max_length=max_length, extra=_extra(private))


def private() -> msgspec.Meta:
    """Personal or sensitive, as `private=True` of the others: messages do not repeat the value."""
    return msgspec.Meta(extra=_extra(True))


def default(value: T) -> T:
    """The value of a property that is left out. It is sent, so that it means the same to every receiver."""
    # A factory, because a plain default is left out of what is sent.
    return msgspec.field(default_factory=lambda: value)


def when_invalid(action: Literal["raise", "warn"]) -> None:
    """What making an event of wrong values does in this process: raise `InvalidValue` (from the start), or warn.

    With "warn" the event is made as it is, the logger `polku` tells it once per place in the code, and the collector
    puts the event into quarantine: for programs that no event may stop.
    """
    global _raising
    if action not in ("raise", "warn"):
        raise ValueError(f'when_invalid takes "raise" or "warn", not {action!r}')
    _raising = action == "raise"


_raising = True
_reporter = Reporter()


def _looked_at(cls: type[Object], values: dict[str, Any]) -> Object:
    """What the fast check refused: made after all, or refused in words."""
    try:
        from polku.refusal import accepted  # only here: most values are right

        return msgspec.convert(accepted(cls, cls._name, cls._root, values), cls)
    except InvalidValue as error:
        if _raising:
            raise error from None
        file, line = calling_place()
        _reporter.once((file, line, cls), f"{file}:{line}: {error}: made as it is")
        known = {field.name: values.get(field.name) for field in _fields(cls) if field.required or field.name in values}
        unchecked: Object = msgspec.StructMeta.__call__(cls, **known)
        return unchecked


def _fields(cls: type) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(cls)


def _shown_default(field: msgspec.structs.FieldInfo) -> Any:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return Parameter.empty if field.default is msgspec.NODEFAULT else field.default


def _extra(private: bool, expected: str = "") -> dict[str, Any] | None:
    extra = {"private": private, "expected": expected}
    return {key: value for key, value in extra.items() if value} or None
