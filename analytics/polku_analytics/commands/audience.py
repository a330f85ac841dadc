"""`polku audience`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import click
import msgspec

from polku_analytics.commands.options import answering, common, opened
from polku_analytics.result import AnalysisResult, parse_window


def _show_audience(result: AnalysisResult, given: Mapping[str, Any]) -> None:
    from polku_analytics.printing import as_csv, as_json

    if given["as_json_text"]:
        text = as_json(result) + "\n"
    elif given["out"] == "csv":
        text = as_csv(result.columns, result.rows)
    else:
        lines = (dict(zip(result.columns, row, strict=True)) for row in result.rows)
        text = "".join(msgspec.json.encode(line, enc_hook=str).decode() + "\n" for line in lines)
    path: Path | None = given["path"]
    if path is None:
        click.echo(text, nl=False)
        if not result.rows:
            click.echo("nobody is in it", err=True)
    else:
        path.write_text(text, encoding="utf-8", newline="")
        click.echo(f"{len(result.rows)} people in {path}", err=True)


@click.command()
@click.argument("names", nargs=-1, metavar="[SEGMENT]...")
@click.option("--cart-idle", help="Only who has left something in the cart for so long, such as 24h, and not bought.")
@click.option("--products", type=click.Choice(["cart", "viewed"]), help="List these product ids.")
@click.option("--with", "columns", multiple=True, help="Further columns of profiles, such as trait_email.")
@click.option("--out", type=click.Choice(["csv", "ndjson"]), default="csv", show_default=True, help="Format.")
@click.option("--to", "path", type=click.Path(dir_okay=False, path_type=Path), help="File to write.  [default: stdout]")
@common
@answering(_show_audience)
def audience(
    names: tuple[str, ...],
    cart_idle: str | None,
    products: str | None,
    columns: tuple[str, ...],
    **given: Any,
) -> AnalysisResult:
    """Who is in all of the SEGMENTs (names of the plan, or conditions), as a list to send messages by.

    Ids that identify people are in it, addresses only on request: --with trait_email.
    """
    from polku_analytics.analyses.audience import AudienceQuestion, Products, check_choice, run_audience

    question = AudienceQuestion(
        segments=names,
        cart_idle_seconds=None if cart_idle is None else parse_window(cart_idle),
        products=cast("Products | None", products),
        columns=columns,
    )
    check_choice(question)
    return run_audience(opened(given), question)
