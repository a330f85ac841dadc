"""Reads `reference/*`: the tables that the business keeps itself, one a file. The folder may be absent.

In a file `required: true` says that no row goes without a value; columns of the key need one unless they say
`required: false`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, cast

from polku_schemas.documents import ENDINGS, read_document
from polku_schemas.errors import Finding
from polku_schemas.finding_codes import FindingCode
from polku_schemas.members import Members
from polku_schemas.model import ReferenceColumn, ReferenceTable, ReferenceType

TYPES: Final = ("string", "integer", "number", "boolean", "date", "date-time")


def read_reference_tables(folder: Path, findings: list[Finding]) -> dict[str, ReferenceTable]:
    """The tables, by name; what is wrong with them is added to the findings."""
    tables = {}
    for path in sorted((folder / "reference").glob("*")):
        if path.name.startswith("."):
            continue
        if path.suffix not in ENDINGS:
            findings.append(
                Finding(
                    file=f"reference/{path.name}",
                    code=FindingCode.UNREAD_FILE,
                    message="this file is not read",
                    remedy=f"End its name with {ENDINGS[0]}, or move it out of the plan",
                )
            )
            continue
        document = read_document(folder, f"reference/{path.stem}", findings, may_be_empty=False)
        if document is not None:
            members = Members(document, (), findings)
            tables[path.stem] = _table(path.stem, members)
            members.leftover()
    return tables


def _table(name: str, members: Members) -> ReferenceTable:
    keys = members.texts("keys", required=True)
    description = members.text("description")
    columns = {}
    held = members.mapping("columns", required=True)
    for column, entry in held.named():
        columns[column] = ReferenceColumn(
            type=cast("ReferenceType", entry.one_of("type", TYPES)),
            description=entry.text("description"),
            required=entry.flag("required") if "required" in entry else column in keys,
        )
        entry.leftover()
    for index, key in enumerate(keys):
        if key not in columns:
            known = ", ".join(columns) or "none yet"
            members.report(
                FindingCode.UNKNOWN_PROPERTY, ("keys", index), f"there is no column `{key}`", f"Use one of {known}"
            )
    return ReferenceTable(name=name, description=description, keys=keys, columns=columns)
