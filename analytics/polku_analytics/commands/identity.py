"""`polku identity`."""

from __future__ import annotations

from typing import Any

import click

from polku_analytics.commands.options import answering, common, opened
from polku_analytics.result import AnalysisResult


@click.command()
@click.option("--many", "many_ids", default=10, show_default=True, help="So many ids of one person are suspicious.")
@click.option("--shared-by", default=3, show_default=True, help="So many known people on one device are suspicious.")
@click.option("--top", default=20, show_default=True, help="Rows of each finding.")
@common
@answering()
def identity(many_ids: int, shared_by: int, top: int, **given: Any) -> AnalysisResult:
    """Merges of ids that look wrong, and people who may be there twice."""
    from polku_analytics.analyses.identity_report import IdentityQuestion, run_identity

    question = IdentityQuestion(many_ids=many_ids, shared_by=shared_by, top=top)
    return run_identity(opened(given, "person_links"), question)
