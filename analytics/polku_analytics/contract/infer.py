"""Decides what a drafted plan says: a type for every name, what is required, what is left for somebody to decide.

One name has one type in the whole plan. Where the events disagree, most values win; the others get a name of their
own, which the draft proposes. Everything that a reader should look at is a note.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from polku_analytics.contract.collect import MAX_EVENTS, Collected, Seen
from polku_analytics.contract.entries import UNDESCRIBED, Entry, draft_entry, family_of, fits
from polku_analytics.contract.examples import event_example
from polku_analytics.contract.names import Kind, plan_name, unlike
from polku_analytics.contract.profile import MAX_FIELDS, Family, Profile
from polku_schemas import Event, Plan, Property, Rule, snake_case
from polku_schemas.amounts import counted

REQUIRED_FROM: Final = 20
"""A property that came with every one of so many events, or more, is drafted as required."""

UNASSIGNED: Final = "unassigned"
"""The owner and touchpoint of a drafted event: somebody has to say."""

_MAX_ALIAS: Final = 200
"""Longer names are not looked up."""

_MAX_NAMED: Final = 5
"""Events that a note names; it counts the others."""

_SCALARS: Final = ("text", "number", "boolean", None)
_OBJECTS: Final = ("object", "list of objects")
_SUFFIXES: Final = {"text": "text", "number": "number", "boolean": "flag", "object": "object"}

_WORDS: Final = {"text": "texts", "number": "numbers", "boolean": "true or false", "object": "an object"}


class Note(Struct, frozen=True, order=True):
    """Something that a reader of the draft should look at."""

    kind: str
    """`type`: values that disagree; `name`: one that cannot be kept; `extra`: what no plan can describe."""
    text: str


class Use(Struct, frozen=True):
    """A property as an event, or an object, of the draft has it."""

    name: str
    sent: str
    required: bool
    values: int
    of: int
    """The events, or objects, among which it has values."""


class DraftEvent(Struct, frozen=True):
    """A new event."""

    event: Event
    uses: dict[str, Use]
    events: int
    is_borrowed: bool
    """Whether the built-in plan has an event of this name, from which words were taken."""


class Draft(Struct, frozen=True):
    """What a drafted plan adds to `base`, or all of it where there is none."""

    base: Plan | None
    properties: dict[str, Entry]
    traits: dict[str, Entry]
    events: dict[str, DraftEvent]
    additions: dict[str, dict[str, Use]]
    """Events of `base` with the properties they lack."""
    fields: dict[str, dict[str, Use]]
    """Properties of `base` that are objects, or lists of them, with the fields they lack."""
    trait_fields: dict[str, dict[str, Use]]
    """The same for traits."""
    notes: list[Note]


def draft_plan(collected: Collected, builtin: Plan) -> Draft:
    """A plan for what was collected. Words are taken from `builtin` where it has the same name."""
    base = None if collected.base is None else collected.base.plan
    places = list(_places(collected, base))
    notes = [*_settle(places, base), *_part_objects(places), *_one_each(places), *_fill_objects(places, base)]
    notes += _other_notes(collected)
    placed = [place for place in places if place.home]
    notes += _renamed(placed)
    properties = _entries([place for place in placed if place.seen], base, builtin, places, is_trait=False)
    traits = _entries([place for place in placed if not place.seen], base, builtin, places, is_trait=True)
    known = {**(base.properties if base else {}), **{name: entry.prop for name, entry in properties.items()}}
    aliases = _aliases(collected, base, notes)
    events: dict[str, DraftEvent] = {}
    additions: dict[str, dict[str, Use]] = {}
    for name, seen in sorted(collected.events.items()):
        uses = _uses(place for place in placed if place.seen is seen and place.owner is None)
        if base is not None and name in base.events:
            new = {use: found for use, found in uses.items() if use not in base.events[name].properties}
            additions |= {name: {use: replace(found, required=False) for use, found in new.items()}} if new else {}
        else:
            events[name] = _event(seen, uses, known, builtin, aliases[name])
    return Draft(
        base=base,
        properties=properties,
        traits=traits,
        events=events,
        additions=additions,
        fields=_new_fields(placed, base.properties if base else {}, is_trait=False),
        trait_fields=_new_fields(placed, base.traits if base else {}, is_trait=True),
        notes=sorted(set(notes)),
    )


# Where names were seen ----------------------------------------------------------------------------------------------


class _Place(Struct, eq=False):
    """A name where it was seen: in an event, among the traits, or as the field of an object there."""

    name: str
    """As a plan may have it."""
    sent: str
    profile: Profile
    seen: Seen | None = None
    """The event; None for traits."""
    owner: _Place | None = None
    """The object whose field it is."""
    fields: list[_Place] = []
    """Where it is an object: those of its fields that get a name in the draft."""
    home: str = ""
    """The name it gets in the draft; empty if it gets none."""

    @property
    def family(self) -> Family | None:
        """The family of most of its values, None if there is none. A field that is no scalar fits no plan."""
        family = self.profile.family
        return "other" if self.owner is not None and family not in _SCALARS else family

    @property
    def of(self) -> int:
        """The events, objects or sets of traits in which it could have been."""
        if self.owner is not None:
            return self.owner.profile.objects
        return self.seen.events if self.seen is not None else 0

    def __str__(self) -> str:
        event = self.seen.name if self.seen is not None else "traits"
        return event if self.owner is None else f"{event} (in `{self.owner.sent}`)"


def _places(collected: Collected, base: Plan | None) -> Iterator[_Place]:
    reserved = base.reserved if base is not None else ()
    holders: list[tuple[Seen | None, Profile]] = [(seen, seen.profile) for seen in collected.events.values()]
    for seen, holder in [*holders, (None, collected.traits)]:
        kind: Kind = "trait" if seen is None else "property"
        for sent, profile in holder.fields.items():
            place = _Place(plan_name(sent, kind, reserved), sent, profile, seen)
            yield place
            if profile.family in _OBJECTS:
                for inner, field in profile.fields.items():
                    yield _Place(plan_name(inner, kind, reserved), inner, field, seen, place)


# Which name each gets -----------------------------------------------------------------------------------------------


def _settle(places: list[_Place], base: Plan | None) -> Iterator[Note]:
    """Give each place a home: its name if its values have the type of the name, else a name beside it."""
    groups: dict[str, list[_Place]] = {}
    for place in places:
        groups.setdefault(place.name, []).append(place)
    taken = {*groups, *(base.properties if base else ()), *(base.traits if base else ())}
    for name, group in sorted(groups.items()):
        known = _known(base, name)
        winner = family_of(known) if known is not None else _winner(group)
        aside: dict[str, list[_Place]] = {}
        for place in group:
            family = place.family
            if family is None:
                continue  # null in every event: nothing to say of it
            if _fits_known(place, known, base) if known is not None else _goes_with(family, winner):
                place.home = name
            elif family in ("other", "empty list"):
                text = f"`{place.sent}` of {place}: no plan can describe it"
                why = "lists of lists, null in a list, objects inside objects"
                yield Note("extra", f"{text} ({why}); it stays in `extra`")
            else:
                aside.setdefault(family, []).append(place)
        for differing, others in aside.items():
            home = unlike(name, _SUFFIXES.get(differing, "list"), taken)
            taken.add(home)
            for place in others:
                place.home = home
            holds = (
                f"holds {_WORDS.get(winner or '', winner)} elsewhere"
                if known is None
                else f"is planned as {known.type}"
            )
            count = sum(place.profile.values for place in others)
            where = _listed(str(place) for place in others)
            came = f"but {_WORDS.get(differing, differing)} in {counted(count, 'value')} of {where}"
            yield Note("type", f"`{name}` {holds}, {came}: drafted there as `{home}`")


def _known(base: Plan | None, name: str) -> Property | None:
    """What already decides the type of a name: a property and a trait of one name have one type."""
    return None if base is None else base.properties.get(name) or base.traits.get(name)


def _fits_known(place: _Place, known: Property, base: Plan | None) -> bool:
    """Whether the values have the type of the name; an object of the other dictionary has fields of that one."""
    own = () if base is None else base.traits if place.seen is None else base.properties
    if (known.items or known).fields and place.name not in own:
        return False
    return place.family != "other" and fits(place.profile, known)


def _winner(group: Iterable[_Place]) -> Family | None:
    counts: Counter[Family] = Counter()
    for place in group:
        family = place.family
        if family not in (None, "other"):
            counts[family] += place.profile.values
    lists = [family for family in counts if family.startswith("list")]
    if lists:
        counts.pop("empty list", None)
    return min(counts, key=lambda family: (-counts[family], family), default=None)


def _goes_with(family: Family, winner: Family | None) -> bool:
    return family == winner or (family == "empty list" and (winner or "").startswith("list"))


def _part_objects(places: list[_Place]) -> Iterator[Note]:
    """A trait and a property of one name have one type, but objects of events and of persons rarely the same fields."""
    objects = [place for place in places if place.home and place.owner is None and place.family in _OBJECTS]
    taken = {place.home for place in places}
    for home in {place.home for place in objects if place.seen} & {place.home for place in objects if not place.seen}:
        for place in objects:
            if place.seen is None and place.home == home:
                place.home = unlike(home, "trait", taken)
                text = f"the trait `{place.sent}` is an object, as is the property: drafted as `{place.home}`"
                yield Note("type", f"{text}, so that each can have fields of its own")


def _one_each(places: list[_Place]) -> Iterator[Note]:
    """Where two sent names come to one in the same event or object, the one that is already right keeps it."""
    rivals: dict[tuple[int, int, str], list[_Place]] = {}
    for place in places:
        if place.home:
            rivals.setdefault((id(place.seen), id(place.owner), place.home), []).append(place)
    for (_, _, home), group in rivals.items():
        first, *others = sorted(group, key=lambda place: (place.sent != home, -place.profile.values, place.sent))
        for place in others:
            place.home = ""
            yield Note(
                "name", f"`{place.sent}` and `{first.sent}` of {place} would both be `{home}`; drafted from the latter"
            )


def _fill_objects(places: list[_Place], base: Plan | None) -> Iterator[Note]:
    """An object needs fields: one without a field that can be planned gets no name."""
    objects = {place.home for place in places if place.home and place.owner is None and place.family in _OBJECTS}
    filled = {(place.owner.home, place.seen is None) for place in places if place.owner is not None and place.home}
    for place in places:
        if place.owner is not None or place.home not in objects or _known(base, place.home) is not None:
            continue
        if (place.home, place.seen is None) not in filled:
            place.home = ""
            text = f"`{place.sent}` of {place}: an object without a field that can be planned"
            yield Note("extra", f"{text} stays in `extra`")
    for place in places:
        if place.owner is not None and place.home:
            if place.owner.home:
                place.owner.fields.append(place)
            else:
                place.home = ""


def _renamed(placed: Iterable[_Place]) -> Iterator[Note]:
    where: dict[tuple[str, str], list[str]] = {}
    for place in placed:
        if place.sent != place.home and place.name == place.home:
            where.setdefault((place.sent, place.home), []).append(str(place))
    for (sent, home), names in where.items():
        text = f"`{sent}` of {_listed(names)} is drafted as `{home}`; until it is sent as that, it stays in `extra`"
        yield Note("name", text)


def _other_notes(collected: Collected) -> Iterator[Note]:
    if collected.names_left_out:
        count, example = len(collected.names_left_out), next(iter(collected.names_left_out))
        text = f"more than {MAX_EVENTS:,} event names; left out {count:,} more, such as `{example}`"
        yield Note("name", f"{text}: something that changes stands in the name")
    for seen in collected.events.values():
        if seen.profile.left_out:
            text = (
                f"{seen.name} has more than {MAX_FIELDS} properties: their names are values; the others were left out"
            )
            yield Note("name", text)
    for call, count in collected.built_in_with_properties.items():
        if count:
            yield Note("extra", f"{count:,} {call} calls have properties; no plan describes them, they stay in `extra`")
    if collected.not_objects:
        odd = counted(collected.not_objects, "event")
        yield Note("extra", f"{odd} with properties or traits that are no object: no plan takes them")


# What the draft says ------------------------------------------------------------------------------------------------


def _entries(
    placed: list[_Place], base: Plan | None, builtin: Plan, places: list[_Place], *, is_trait: bool
) -> dict[str, Entry]:
    """The new entries of one dictionary, scalars before the objects that have them as fields."""
    have: Mapping[str, Property] = {} if base is None else base.traits if is_trait else base.properties
    words = builtin.traits if is_trait else builtin.properties
    homes: dict[str, list[_Place]] = {}
    for place in placed:
        if place.home not in have:
            homes.setdefault(place.home, []).append(place)
    entries: dict[str, Entry] = {}
    props = dict(have)
    for name in sorted(homes, key=lambda name: (any(place.family in _OBJECTS for place in homes[name]), name)):
        group = homes[name]
        # The type is decided by all who have the name, in both dictionaries; the rest by those of this one.
        everywhere = Profile.of(place.profile for place in places if place.home == name)
        entries[name] = draft_entry(
            name,
            everywhere.family or "text",
            everywhere,
            {field.name: replace(props[field.name], required=field.required) for field in _fields(group)},
            events=len({id(place.seen) for place in group}),
            like=_known(base, name),
            builtin=words.get(name),
            is_trait=is_trait,
        )
        props[name] = entries[name].prop
    return {name: entries[name] for name in sorted(entries)}


def _fields(owners: Iterable[_Place]) -> list[Use]:
    """The fields of an object, from all places where it was seen."""
    of = sum(owner.profile.objects for owner in owners)
    values: Counter[str] = Counter()
    sent: dict[str, str] = {}
    for owner in owners:
        for field in owner.fields:
            values[field.home] += field.profile.values
            # Where a field is sent under several names, one that cannot be kept speaks for all: it is not required.
            if sent.get(field.home, field.home) == field.home:
                sent[field.home] = field.sent
    return _ordered(_use(home, sent[home], count, of) for home, count in values.items())


def _uses(places: Iterable[_Place]) -> dict[str, Use]:
    """The properties of an event."""
    found = (_use(place.home, place.sent, place.profile.values, place.of) for place in places)
    return {use.name: use for use in _ordered(found)}


def _use(name: str, sent: str, values: int, of: int) -> Use:
    # What comes under another name is not the property until the sender is changed.
    return Use(name, sent, required=sent == name and values == of and of >= REQUIRED_FROM, values=values, of=of)


def _ordered(uses: Iterable[Use]) -> list[Use]:
    return sorted(uses, key=lambda use: (not use.required, use.name))


def _new_fields(placed: Iterable[_Place], have: Mapping[str, Property], *, is_trait: bool) -> dict[str, dict[str, Use]]:
    """The fields that objects of the base plan lack; none is required, so that what is valid stays valid."""
    owners: dict[str, list[_Place]] = {}
    for place in placed:
        if place.owner is None and place.home in have and place.family in _OBJECTS and (place.seen is None) == is_trait:
            owners.setdefault(place.home, []).append(place)
    found: dict[str, dict[str, Use]] = {}
    for name, group in sorted(owners.items()):
        prop = have[name]
        known = (prop.items or prop).fields
        fields = {use.name: replace(use, required=False) for use in _fields(group) if use.name not in known}
        found |= {name: fields} if fields else {}
    return found


def _event(
    seen: Seen, uses: dict[str, Use], props: Mapping[str, Property], builtin: Plan, aliases: Collection[str]
) -> DraftEvent:
    example = event_example(seen, [(use.name, use.sent, use.required) for use in uses.values()], props)
    # A property of which no example can be given (a pattern of the base plan that a masked value breaks) is optional.
    uses = {name: replace(use, required=use.required and name in example) for name, use in uses.items()}
    twin = builtin.events.get(seen.name)
    event = Event(
        name=seen.name,
        version="1.0",
        owner=UNASSIGNED,
        description=twin.description if twin else UNDESCRIBED,
        stage=_constant(twin.stage) if twin else (),
        touchpoint=(_constant(twin.touchpoint) if twin else ()) or (Rule(UNASSIGNED),),
        call=seen.call,
        aliases=tuple(aliases),
        properties={name: replace(props[name], required=use.required) for name, use in uses.items()},
        examples=(example,),
    )
    return DraftEvent(event, uses, seen.events, twin is not None)


def _constant(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """A rule that asks for nothing; rules about properties may ask for some that the draft does not have."""
    return rules if len(rules) == 1 and not rules[0].when else ()


def _aliases(collected: Collected, base: Plan | None, notes: list[Note]) -> dict[str, list[str]]:
    """For each event the names it was sent under and is not found by; one that would lead astray is left out."""
    spellings = {snake_case(name): name for name in (base.events if base is not None else ())}
    for event in base.events.values() if base is not None else ():
        spellings |= {snake_case(alias): event.name for alias in event.aliases if snake_case(alias) not in spellings}
    spellings |= {name: name for name in collected.events}
    aliases: dict[str, list[str]] = {}
    for name, seen in sorted(collected.events.items()):
        aliases[name] = []
        for sent in sorted(set(seen.sent) - {name}):
            spelled = snake_case(sent)
            is_clear = not spelled or spellings.setdefault(spelled, name) == name
            if is_clear and sent.strip() == sent and 0 < len(sent) <= _MAX_ALIAS:
                aliases[name].append(sent)
            elif spelled != name:
                text = f"the event {sent[:60]!r} cannot be an alias of `{name}`: it stays unplanned"
                notes.append(Note("name", text))
    return aliases


def _listed(names: Iterable[str]) -> str:
    found = sorted(set(names))
    rest = f" and {len(found) - _MAX_NAMED} more" if len(found) > _MAX_NAMED else ""
    return ", ".join(found[:_MAX_NAMED]) + rest
