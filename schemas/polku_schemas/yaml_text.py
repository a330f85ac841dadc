"""Reads YAML into plain values with the line of each: mappings, lists, texts, numbers, booleans and null.

By the rules of YAML 1.2, whatever the file says: `yes`, `no`, `on` and dates are texts. libyaml does the parsing,
sixteen times faster than a parser in Python, and this module decides what a plain scalar is.
"""

from __future__ import annotations

from typing import Any, Final

from yaml import MarkedYAMLError, YAMLError
from yaml.cyaml import CParser
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.reader import ReaderError

from polku_schemas.finding_codes import FindingCode
from polku_schemas.located import Located, MemberPath, is_float, is_integer

_TEXT_TAG: Final = "tag:yaml.org,2002:str"
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}

_HINTS: Final = {
    "found a tab character that violates indentation": "Indent with spaces, not tabs",
    "found character that cannot start any token": "Indent with spaces, not tabs, and put texts that begin with "
    "%, @ or ` in quotes",
    "mapping values are not allowed in this context": "Put a text with a colon in quotes, or correct the indentation",
    "found undefined alias": "Put a text that begins with * in quotes",
    "found invalid Unicode character escape code": "Write the character itself",
    "but found another document": "Keep one document in the file: remove the line ---",
    "found unexpected end of stream": "Close the quotes",
    "did not find expected ',' or ']'": "Close the list with ] or put a comma between its items",
    "did not find expected ',' or '}'": "Close the braces with } or put a comma between the members",
    "could not find expected ':'": "Write `key: value`, with the value on the same line or indented below",
    "did not find expected key": "Correct the indentation",
}


def read_yaml(text: str, located: Located) -> Any:
    """The value in `text`, None for an empty one. What is wrong is reported to `located`.

    Raises SyntaxError, already reported, if the text is not YAML, and TooLargeError.
    """
    parser = _Parser(text)
    try:
        node = parser.get_single_node()
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = str(error.problem or error.context)
        remedy = _HINTS.get(problem, "Correct the indentation or quotes")
        # What is missing at the end is missed behind the last line.
        line = None if mark is None else min(mark.line + 1, max(1, len(text.splitlines())))
        located.report(FindingCode.INVALID_SYNTAX, (), line, f"this is not YAML: {problem}", remedy)
        raise SyntaxError from error
    except ReaderError as error:
        # libyaml counts bytes.
        line = text.encode()[: error.position].count(b"\n") + 1
        message = f"the character U+{error.character:04X} may not stand in YAML"
        located.report(FindingCode.INVALID_SYNTAX, (), line, message, "Remove it")
        raise SyntaxError from error
    except YAMLError as error:
        located.report(FindingCode.INVALID_SYNTAX, (), None, f"this is not YAML: {error}", "Correct the file")
        raise SyntaxError from error
    finally:
        parser.dispose()
    return None if node is None else _read(node, (), located)


class _Parser(CParser):  # type: ignore[misc]  # PyYAML ships no types
    """libyaml's composer. An implicit tag is "" for a quoted scalar and "plain" for a plain one."""

    def resolve(self, kind: type[Node], _value: str | None, implicit: Any) -> str:
        return "plain" if kind is ScalarNode and implicit[0] else ""

    def descend_resolver(self, _parent: Node, _index: Any) -> None:
        """There are no resolvers by path."""

    def ascend_resolver(self) -> None:
        """There are no resolvers by path."""


def _read(node: Node, path: MemberPath, located: Located) -> Any:
    line = node.start_mark.line + 1
    located.place(path, line)
    if node.tag not in ("", "plain") and not (node.tag == _TEXT_TAG and isinstance(node, ScalarNode)):
        remedy = "Remove it: the format needs no tags"
        located.report(FindingCode.YAML_TAG, path, line, f"the tag {node.tag} means nothing here", remedy)
    if isinstance(node, MappingNode):
        return _read_mapping(node, path, located)
    if isinstance(node, SequenceNode):
        return [_read(item, (*path, index), located) for index, item in enumerate(node.value)]
    text = str(node.value)
    return _plain(text, path, line, located) if node.tag == "plain" else text


def _read_mapping(node: MappingNode, path: MemberPath, located: Located) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, ScalarNode):
            located.report(FindingCode.WRONG_TYPE, path, line, "a key is not a text", "Use a plain word as key")
            continue
        key = str(key_node.value)
        member = (*path, key)
        if key == "<<" and key_node.tag == "plain":
            remedy = "Write the keys out; what several events share belongs into properties.yaml"
            located.report(FindingCode.MERGE_KEY, member, line, "`<<` does not merge mappings in YAML 1.2", remedy)
        elif key in members:
            located.report(FindingCode.DUPLICATE_KEY, member, line, f"`{key}` stands here twice", "Keep one of them")
        else:
            # The key's line, not the value's: that is where people look.
            located.lines[member] = line
            members[key] = _read(value_node, member, located)
    return members


def _plain(text: str, path: MemberPath, line: int, located: Located) -> Any:
    """A scalar without quotes, by the core schema of YAML 1.2."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        located.written[path] = text
        return _BOOLEANS[text]
    # Nearly everything is a word: one look at its first character saves two expressions.
    if text[0] in "+-.0123456789" and (is_integer(text) or is_float(text)):
        return located.number(text, path, line)
    return text
