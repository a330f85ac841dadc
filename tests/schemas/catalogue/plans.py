"""Plans that a catalogue has trouble with: texts that would like to be markup or commands, and very many events."""

import datetime
from typing import Any, Final

from msgspec.structs import replace

from polku_schemas import (
    Change,
    Comparison,
    Event,
    Funnel,
    FunnelStep,
    Goal,
    Plan,
    Property,
    Rule,
    Segment,
    Target,
    builtin_plan_path,
    load_plan,
)
from polku_schemas.plan import fingerprint

SCRIPT: Final = "</script><img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
HOSTILE: Final = (
    SCRIPT,
    "'; touch taken; '$(touch taken)`touch taken`\"; touch taken; \"!!\\",
    "a | b || `c | d` ``e`` *f* _g_ [h](javascript:document.title='taken') # i\n\n## j\n| k | l |\n```\nm\n<b>n</b>",
    "\u202eתיאור בעברית\u202c עם <b>סימן</b> و نص عربي",
    "👩\u200d👩\u200d👧 emoji, e\u0301, \u00a0, \u2028 and \u2029, \x7f, {{ template }} ${literal} %s %(x)s \\n $x$",
    "-->]]>]]&gt;&lt;!-- &amp; <!--",
)
"""Each is a text somewhere in the hostile plan."""

LONG: Final = "A very long description that goes on and on. " * 112
LONG_NAME: Final = "n" * 120
"""Longer than a name may be: of an alias, an owner, the plan."""
LONGEST_NAME: Final = "a" * 30 + "_" + "b" * 32
"""As long as the name of an event or property may be."""


def hostile_plan() -> Plan:
    """A plan that a loader would accept, with a hostile text wherever a text may stand."""
    script, shell, markup, rtl, emoji, comment = HOSTILE
    properties = {
        "free": Property(name="free", type="string", description=script, privacy="personal", examples=(shell,)),
        "choice": Property(name="choice", type="string", description=markup, enum=HOSTILE, examples=(markup,)),
        "shape": Property(name="shape", type="string", description=rtl, pattern=f"{script}|a", examples=(emoji,)),
        "amount": Property(name="amount", type="number", description=LONG, default=1.5, minimum=0, examples=(1.5,)),
        "secret": Property(name="secret", type="string", description=emoji, privacy="sensitive", default=script),
        LONGEST_NAME: Property(name=LONGEST_NAME, type="integer", description=shell, privacy="pseudonymous"),
    }  # fmt: skip
    properties["things"] = Property(
        name="things",
        type="array",
        description=comment,
        items=Property(name="things", type="object", description=comment, fields={"free": properties["free"]}),
        examples=([{"free": shell}],),
    )
    when = (Comparison("choice", "in", HOSTILE), Comparison("free", "like", f"%{script}%"))
    example: dict[str, Any] = {name: prop.examples[0] for name, prop in properties.items() if prop.examples}
    events = {
        name: Event(
            name=name,
            version="1.0",
            owner=LONG_NAME if text is LONG else text,
            description=text,
            aliases=(text[:120], LONG_NAME),
            stage=(Rule("first", when), Rule("second")),
            touchpoint=(Rule("place"),),
            channel=(Rule("web", when),),
            properties={**properties, "free": replace(properties["free"], required=True)},
            examples=({**example, "free": text},),
        )
        for name, text in zip(
            ("event_a", "event_b", "event_c", "event_d", "event_e", "event_f", LONGEST_NAME),
            (*HOSTILE, LONG),
            strict=True,
        )
    }
    plan = Plan(
        name=LONG_NAME,
        version="1.0",
        description=script,
        stages=("first", "second"),
        channels=("web",),
        properties=properties,
        traits={"free": replace(properties["free"], privacy="sensitive"), "choice": properties["choice"]},
        events=events,
        goals={"goal": Goal(name="goal", description=script, events=("event_a",), when=when, value="amount")},
        segments={
            "segment": Segment(
                name="segment", description=markup, when=(Comparison("trait_free", "=", script),), persona=rtl
            )
        },
        funnels={
            "funnel": Funnel(
                name="funnel",
                description=emoji,
                steps=(FunnelStep(event="event_a", when=when), FunnelStep(event="event_b")),
                window_seconds=90,
            )
        },
        targets={
            "target": Target(name="target", description=comment, measure="value", of="goal", value=1.5, period="day")
        },
        changes=(Change(name="change", date=datetime.date(2026, 1, 2), kind="other", description=script),),
    )
    return replace(plan, fingerprint=fingerprint(plan))


def big_plan(count: int) -> Plan:
    """`count` events with the properties, descriptions and examples of the built-in plan."""
    plan = load_plan(builtin_plan_path())
    known = list(plan.events.values())
    events = {}
    for number in range(count):
        event = known[number % len(known)]
        name = event.name if number < len(known) else f"{event.name}_{number}"
        events[name] = replace(event, name=name, call="track", aliases=tuple(f"{a} {number}" for a in event.aliases))
    bigger = replace(plan, events=events, fingerprint="")
    return replace(bigger, fingerprint=fingerprint(bigger))
