"""The command `polku demo`: options in, a run out."""

import signal
import sys
from pathlib import Path

import click

# Chosen so that both together end within two minutes on two cores.
DEFAULT_HOUSEHOLDS = 350
DEFAULT_PEOPLE = 2_000
DEFAULT_SEED = 1


@click.command()
@click.option(
    "--dataset",
    type=click.Choice(["retail", "webshop", "both"]),
    default="both",
    show_default=True,
    help="Till receipts of a retailer's households, a made-up shop with all channels, or both.",
)
@click.option(
    "--households",
    type=click.IntRange(min=1),
    help=f"Households of the retail data to take.  [default: {DEFAULT_HOUSEHOLDS}]",
)
@click.option("--full", is_flag=True, help="All 2,469 households of the retail data: the whole year.")
@click.option(
    "--people",
    type=click.IntRange(min=1),
    default=DEFAULT_PEOPLE,
    show_default=True,
    help="People who find the made-up shop.",
)
@click.option("--seed", type=int, default=DEFAULT_SEED, show_default=True, help="Another seed is another made-up shop.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("polku-demo"),
    show_default=True,
    help="Where lakes, journals and reports go; they stay there.",
)
def demo(dataset: str, households: int | None, full: bool, people: int, seed: int, out: Path) -> None:
    """Send a data set through the SDK to a collector, and show the journeys that come out.

    What arrives is compared with what is known: exit code 1 if a figure differs. A second run adds nothing.
    """
    from polku_demo import datasets
    from polku_demo.run import run

    if full and households is not None:
        raise click.UsageError("--full takes all households: leave out --households")
    chosen = []
    if dataset in ("retail", "both"):
        chosen.append(datasets.retail(None if full else households or DEFAULT_HOUSEHOLDS))
    if dataset in ("webshop", "both"):
        chosen.append(datasets.webshop(people, seed))
    # The collector is in a session of its own, so whatever ends the demo has to end it too.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    run(chosen, out, sys.stdout)
