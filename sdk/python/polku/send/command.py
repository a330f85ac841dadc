"""The command `polku send`, with the standard library's parser: the SDK alone is enough for it."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polku.errors import PolkuError
from polku.planned import judging_plan
from polku.send.files import source
from polku.send.mapping import Mapper
from polku.send.mapping_file import mapping_from, read_mapping_file
from polku.send.run import Import
from polku.send.state import State
from polku.settings import settings_from

HELP = "Send events from NDJSON or CSV files to a collector."
EXIT_CODES = """\
exit codes: 0 all were accepted; 1 some were rejected, could not be sent or were lost; 2 it could not begin.
docs/sdk-python.md explains mappings, states and ids."""


class Usage(PolkuError):
    """The command was called in a way that means nothing."""

    exit_code = 2


class _Send:
    """What `polku` expects of a command."""

    help = HELP

    def main(self, args: Sequence[str], prog_name: str, standalone_mode: bool = False) -> int:
        """Run with arguments; returns the exit code."""
        return _run(_parser(prog_name).parse_args(args))


send = _Send()


def _parser(prog_name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog_name,
        description=HELP,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="NDJSON or CSV, also .gz; - is standard input")
    where = parser.add_argument_group("where to")
    where.add_argument("--endpoint", metavar="URL", help="address of the collector (default: POLKU_ENDPOINT)")
    where.add_argument("--write-key", metavar="KEY", help="write key of a source of it (default: POLKU_WRITE_KEY)")
    form = parser.add_argument_group("files")
    form.add_argument(
        "--format", choices=("ndjson", "csv"), help="of the files (default: csv for .csv and .tsv, else ndjson)"
    )
    form.add_argument(
        "--delimiter", metavar="CHAR", help="between the columns of CSV (default: a comma, in .tsv a tab)"
    )
    rows = parser.add_argument_group("what a row is; lines that are items of the wire format are sent as they are")
    rows.add_argument(
        "--mapping", metavar="TOML", type=Path, help="a file that says what the flags below say; flags win"
    )
    rows.add_argument("--call", metavar="CALL", help="track (default), page, screen, identify, group or alias")
    rows.add_argument("--event", metavar="NAME", help="name of the event, for all rows")
    rows.add_argument("--event-column", metavar="COLUMN", help="or the column with the name of each row's event")
    rows.add_argument("--user-id", metavar="COLUMN", help="column with the user id; this or --anonymous-id")
    rows.add_argument("--anonymous-id", metavar="COLUMN", help="column with the anonymous id")
    rows.add_argument(
        "--message-id", metavar="COLUMN", help="column with a unique id (default: made of the line and its number)"
    )
    rows.add_argument(
        "--timestamp", metavar="COLUMN", help="column that says when it happened, in ISO 8601 (default: now)"
    )
    rows.add_argument(
        "--timestamp-format", metavar="FORMAT", help="of another form, as strptime has it: '%%d.%%m.%%Y %%H:%%M'"
    )
    rows.add_argument("--timestamp-unit", choices=("seconds", "milliseconds"), help="of numbers, since 1970")
    rows.add_argument(
        "--timestamp-zone", metavar="ZONE", help="of times without one, such as Europe/Helsinki (default: UTC)"
    )
    rows.add_argument(
        "--property",
        metavar="NAME=COLUMN",
        action="append",
        default=[],
        help="a property and its column; again: more (default: all other columns)",
    )
    rows.add_argument(
        "--type",
        metavar="NAME=TYPE",
        action="append",
        default=[],
        help="what the text of a property becomes, such as number; again: more",
    )
    rows.add_argument("--plan", metavar="DIR", type=Path, help="tracking plan that says the types")
    rows.add_argument("--id-seed", metavar="TEXT", default="", help="part of the ids that are made; see the docs")
    how = parser.add_argument_group("how")
    how.add_argument("--dry-run", action="store_true", help="show the first events, send nothing")
    how.add_argument("--state", metavar="FILE", type=Path, help="note how far it is; go on from there the next time")
    how.add_argument("--rejected", metavar="FILE", type=Path, help="keep what was rejected, as NDJSON")
    how.add_argument("--batch-events", metavar="N", type=int, default=500, help="events a request (default: 500)")
    how.add_argument(
        "--give-up-after",
        metavar="SECONDS",
        type=float,
        default=900.0,
        help="stop after so long without success (default: 900)",
    )
    return parser


def _run(options: argparse.Namespace) -> int:
    if options.delimiter is not None and len(options.delimiter) != 1:
        raise Usage("--delimiter is one character")
    sources = [source(name, options.format, options.delimiter) for name in options.files]
    for one in sources:
        if one.name != "-" and not Path(one.name).is_file():
            raise Usage(f"{one.name}: no such file")
    if len({one.key for one in sources}) < len(sources):
        raise Usage("a file is named twice")
    plan = judging_plan(options.plan) if options.plan else None
    document = _document(options)
    mapper = None
    if document:
        mapper = Mapper(mapping_from(document), plan.types_of if plan else None)
    elif any(one.format == "csv" for one in sources):
        raise Usage("say what a row of CSV is: --event NAME and --user-id COLUMN, or --mapping TOML; see --help")
    endpoint = options.endpoint or os.environ.get("POLKU_ENDPOINT", "")
    run = Import(
        mapper=mapper,
        seed=options.id_seed,
        state=State(options.state, endpoint),
        rejected_file=options.rejected,
        out=sys.stdout,
        err=sys.stderr,
    )
    if options.dry_run:
        return run.show(sources, plan)
    key = options.write_key or os.environ.get("POLKU_WRITE_KEY", "")
    if not endpoint or not key:
        raise Usage("where to: --endpoint and --write-key, or POLKU_ENDPOINT and POLKU_WRITE_KEY")
    given = {"batch_events": options.batch_events, "give_up_after_seconds": options.give_up_after}
    return run.send(sources, settings_from(key, endpoint, given))


def _document(options: argparse.Namespace) -> dict[str, Any]:
    """The mapping as its file would say it: the file, and what the flags say over it."""
    document: dict[str, Any] = read_mapping_file(options.mapping) if options.mapping else {}
    if options.event and options.event_column:
        raise Usage("--event and --event-column: one of them")
    plain = {
        "call": options.call,
        "event": options.event or (options.event_column and {"from": options.event_column}),
        "user_id": options.user_id,
        "anonymous_id": options.anonymous_id,
        "id": options.message_id,
    }
    document.update({name: value for name, value in plain.items() if value})
    cast = {"format": options.timestamp_format, "unit": options.timestamp_unit, "zone": options.timestamp_zone}
    said = {name: value for name, value in cast.items() if value}
    if options.timestamp:
        zone = {} if "zone" in said else {"zone": "UTC"}
        document["timestamp"] = {"from": options.timestamp, "cast": {"to": "date-time", **zone, **said}}
    elif said:
        raise Usage("--timestamp-format, -unit and -zone go with --timestamp COLUMN")
    if options.property:
        member = "traits" if document.get("call") in ("identify", "group") else "properties"
        document[member] = _pairs("--property", options.property)
    if options.type:
        document["cast"] = {**document.get("cast", {}), **_pairs("--type", options.type)}
    return document


def _pairs(flag: str, given: list[str]) -> dict[str, str]:
    pairs = dict(text.partition("=")[::2] for text in given)
    if not all(name and value for name, value in pairs.items()):
        raise Usage(f"{flag} takes NAME=…, such as {flag} price={'number' if flag == '--type' else 'Price'}")
    return pairs
