"""`polku contacts`."""

from __future__ import annotations

from typing import Any, cast

import click

from polku_analytics.commands.options import analysis, opened, scope_of
from polku_analytics.result import AnalysisResult


@click.command()
@click.option(
    "--by",
    type=click.Choice(["agent_role", "reason", "medium", "agent_id", "channel"]),
    default="agent_role",
    show_default=True,
)
@click.option("--complaints", is_flag=True, help="Complaints by topic instead, and whether they are settled.")
@analysis("person")
def contacts(by: str, complaints: bool, **given: Any) -> AnalysisResult:
    """Contacts with agents: per order, how long, resolved, repeated, and how satisfied people are after them."""
    from polku_analytics.analyses.contacts import By, ContactsQuestion, run_complaints, run_contacts

    journeys = opened(given)
    scope = scope_of(given, "person")
    if complaints:
        return run_complaints(journeys, scope)
    else:
        return run_contacts(journeys, ContactsQuestion(by=cast("By", by), scope=scope))
