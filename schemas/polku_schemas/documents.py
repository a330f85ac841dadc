"""Reads YAML files into plain values and remembers the line of each, so that findings can point at it.

Only what a plan needs: mappings, lists, strings, numbers, booleans and null, by YAML 1.2's rules. A date
stays the text that was written.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from polku_schemas.errors import Finding

_TAG: Final = "tag:yaml.org,2002:"
_MAX_DEPTH: Final = 20
"""Deeper than any plan, and a bound for an anchor that contains itself."""

MemberPath = tuple[str | int, ...]
"""Keys and indexes from the top of a file down to a member."""


class Document:
    """One file: its value, and the line of every member of it."""

    def __init__(self, file: str, value: Any, lines: dict[MemberPath, int]) -> None:
        self.file = file
        self.value = value
        self._lines = lines

    def line(self, *path: str | int) -> int | None:
        """The line of the member at `path`, or of the nearest thing around it that is there."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path)

    def finding(self, path: MemberPath, message: str, remedy: str) -> Finding:
        """A finding about the member at `path`."""
        return Finding(file=self.file, line=self.line(*path), message=message, remedy=remedy)


def read_document(folder: Path, file: str, findings: list[Finding]) -> Document | None:
    """Read `folder/file`. What cannot be read is added to `findings`, and None is returned."""
    try:
        text = (folder / file).read_text(encoding="utf-8")
    except FileNotFoundError:
        findings.append(Finding(file=file, message="the file is not there", remedy="Add it"))
        return None
    except (OSError, UnicodeDecodeError) as error:
        remedy = "Make it a UTF-8 text that may be read"
        findings.append(Finding(file=file, message=f"the file cannot be read ({error})", remedy=remedy))
        return None
    try:
        node = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = None if mark is None else mark.line + 1
        message = f"this is not YAML: {error.problem or error.context}"
        findings.append(Finding(file=file, line=line, message=message, remedy="Correct the indentation or quotes"))
        return None
    except (YAMLError, RecursionError) as error:
        message = f"this is not YAML: {str(error).splitlines()[0]}"
        findings.append(Finding(file=file, message=message, remedy="Correct the file"))
        return None
    reader = _Reader(file, findings)
    value = {} if node is None else reader.read(node, ())
    return Document(file, value, reader.lines)


class _Reader:
    def __init__(self, file: str, findings: list[Finding]) -> None:
        self.file = file
        self.findings = findings
        self.lines: dict[MemberPath, int] = {}

    def read(self, node: Node, path: MemberPath) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if len(path) > _MAX_DEPTH:
            self._report(node, "this is nested too deep", "Remove anchors that contain themselves")
            return None
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: MappingNode, path: MemberPath) -> dict[str, Any]:
        members: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self._report(key_node, "a key is not a text", "Use a plain word as key")
                continue
            key = str(key_node.value)
            if key in members:
                self._report(key_node, f"`{key}` stands here twice", "Keep one of them")
                continue
            # The key's line, not the value's: that is where people look.
            self.lines[(*path, key)] = key_node.start_mark.line + 1
            members[key] = self.read(value_node, (*path, key))
        return members

    def _scalar(self, node: Node) -> Any:
        text = str(node.value)
        kind = str(node.tag).removeprefix(_TAG)
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        try:
            if kind == "int":
                return int(text.replace("_", ""), 0 if text.lower().startswith(("0x", "0o")) else 10)
            if kind == "float":
                return float(text.replace("_", ""))
        except ValueError:
            self._report(node, f"`{text}` is not a number", "Write it in decimal, or in quotes if it is a text")
        return text

    def _report(self, node: Node, message: str, remedy: str) -> None:
        line = node.start_mark.line + 1
        self.findings.append(Finding(file=self.file, line=line, message=message, remedy=remedy))
