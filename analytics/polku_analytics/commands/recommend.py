"""`polku recommend`."""

from __future__ import annotations

from typing import Any, cast

import click

from polku_analytics.commands.options import analysis, opened, scope_of
from polku_analytics.errors import AnalyticsError
from polku_analytics.result import AnalysisResult


@click.command()
@click.option("--product", help="What goes with this product.")
@click.option("--person", help="What to suggest to the person of this person_id, without what they have.")
@click.option("--based-on", type=click.Choice(["bought", "viewed"]), default="bought", show_default=True)
@click.option("--fewest", type=click.IntRange(1), help="Leave out rows of fewer units.  [default: 5; 20 with --prompt]")
@click.option("--top", type=click.IntRange(1), default=10, show_default=True)
@click.option("--prompt", is_flag=True, help="Instead: after which step to speak to people who are not logged in.")
@click.option(
    "--by",
    type=click.Choice(["touchpoint", "event", "page"]),
    default="touchpoint",
    show_default=True,
    help="With --prompt: what a step is.",
)
@click.option("--contact", help="With --prompt: the step that is turning to service.  [default: touchpoint:service]")
@analysis("person", "session", "account", "event")
def recommend(
    product: str | None,
    person: str | None,
    based_on: str,
    fewest: int | None,
    top: int,
    prompt: bool,
    by: str,
    contact: str | None,
    **given: Any,
) -> AnalysisResult:
    """Which products go together, what to suggest to whom; or where to prompt people to log in."""
    from polku_analytics.analyses.prompts import By, PromptQuestion, run_prompt
    from polku_analytics.analyses.recommend import BasedOn, RecommendQuestion, run_recommend

    journeys = opened(given)
    if prompt:
        if product or person:
            raise AnalyticsError("--prompt is about steps, not about a product or a person")
        steps = PromptQuestion(
            by=cast("By", by), contact=contact, fewest=fewest or 20, top=top, scope=scope_of(given, "event")
        )
        return run_prompt(journeys, steps)
        return None
    question = RecommendQuestion(
        product=product,
        person=person,
        based_on=cast("BasedOn", based_on),
        fewest=fewest or 5,
        top=top,
        scope=scope_of(given, "person"),
    )
    return run_recommend(journeys, question)
