"""The closed list of what can be wrong with a plan, used by findings, `polku plan check` and the docs."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class FindingCode(StrEnum):
    """A stable, machine-readable kind of finding. Codes are added, never renamed: pipelines filter by them."""

    # Files
    MISSING_FILE = "missing_file"
    UNREADABLE_FILE = "unreadable_file"
    INVALID_SYNTAX = "invalid_syntax"
    EMPTY_FILE = "empty_file"
    DUPLICATE_FILE = "duplicate_file"
    UNREAD_FILE = "unread_file"
    STRAY_FILE = "stray_file"
    NO_EVENTS = "no_events"
    TOO_LARGE = "too_large"
    # Keys and values
    DUPLICATE_KEY = "duplicate_key"
    UNKNOWN_KEY = "unknown_key"
    MISPLACED_KEY = "misplaced_key"
    MISSING_KEY = "missing_key"
    MERGE_KEY = "merge_key"
    YAML_TAG = "yaml_tag"
    WRONG_TYPE = "wrong_type"
    UNKNOWN_VALUE = "unknown_value"
    REPEATED_VALUE = "repeated_value"
    INVALID_NUMBER = "invalid_number"
    INVALID_VERSION = "invalid_version"
    # Names
    INVALID_NAME = "invalid_name"
    FILE_NAME = "file_name"
    RESERVED_NAME = "reserved_name"
    KEYWORD_NAME = "keyword_name"
    DUPLICATE_NAME = "duplicate_name"
    SIMILAR_NAMES = "similar_names"
    TWO_TYPES = "two_types"
    UNREACHABLE_ALIAS = "unreachable_alias"
    AMBIGUOUS_ALIAS = "ambiguous_alias"
    # Properties
    UNKNOWN_PROPERTY = "unknown_property"
    UNUSED_PROPERTY = "unused_property"
    NESTED_TYPE = "nested_type"
    EMPTY_OBJECT = "empty_object"
    CONSTRAINT_TYPE = "constraint_type"
    IMPOSSIBLE_CONSTRAINT = "impossible_constraint"
    REDUNDANT_CONSTRAINT = "redundant_constraint"
    LOOSER_CONSTRAINT = "looser_constraint"
    INVALID_PATTERN = "invalid_pattern"
    PATTERN_DIALECT = "pattern_dialect"
    INVALID_DEFAULT = "invalid_default"
    INVALID_EXAMPLE = "invalid_example"
    # Rules
    INVALID_RULE = "invalid_rule"
    IMPOSSIBLE_VALUE = "impossible_value"
    DEAD_RULE = "dead_rule"
    HIDDEN_RULE = "hidden_rule"
    NOT_STORED = "not_stored"
    UNREACHED_STAGE = "unreached_stage"
    # Journey files and acceptance
    UNKNOWN_EVENT = "unknown_event"
    INVALID_FUNNEL = "invalid_funnel"
    INVALID_TARGET = "invalid_target"
    INVALID_DATE = "invalid_date"
    STALE_ACCEPT = "stale_accept"


WARNINGS: Final = frozenset(
    {
        FindingCode.STRAY_FILE,
        FindingCode.SIMILAR_NAMES,
        FindingCode.UNUSED_PROPERTY,
        FindingCode.REDUNDANT_CONSTRAINT,
        FindingCode.PATTERN_DIALECT,
        FindingCode.UNREACHED_STAGE,
        FindingCode.STALE_ACCEPT,
    }
)
"""The codes of warnings; all others are errors."""

DESCRIPTIONS: Final[dict[FindingCode, str]] = {
    FindingCode.MISSING_FILE: "A file that every plan has is not there.",
    FindingCode.UNREADABLE_FILE: "The file may not be read, or is not UTF-8.",
    FindingCode.INVALID_SYNTAX: "The file is not YAML or not JSON.",
    FindingCode.EMPTY_FILE: "A file that must say something says nothing.",
    FindingCode.DUPLICATE_FILE: "The same thing stands in a YAML and in a JSON file.",
    FindingCode.UNREAD_FILE: "A file in `events/` or `journey/` whose name or ending says that it is not read.",
    FindingCode.STRAY_FILE: "A YAML or JSON file beside `plan.yaml` that is not read.",
    FindingCode.NO_EVENTS: "The plan has no event.",
    FindingCode.TOO_LARGE: "The file is nested too deep or holds too many values, usually through anchors.",
    FindingCode.DUPLICATE_KEY: "A key stands twice in the same place.",
    FindingCode.UNKNOWN_KEY: "The format has no such key here.",
    FindingCode.MISPLACED_KEY: "The key exists, but is given elsewhere: a type in an event, for example.",
    FindingCode.MISSING_KEY: "A key that must be there is missing or empty: an owner, a stage, a privacy class.",
    FindingCode.MERGE_KEY: "`<<` merges mappings in older YAML only.",
    FindingCode.YAML_TAG: "A YAML tag other than `!!str`.",
    FindingCode.WRONG_TYPE: "The value is a number where a text is needed, a text where a list is needed, and so on.",
    FindingCode.UNKNOWN_VALUE: "The value is none of those the key takes, or names something that is not there.",
    FindingCode.REPEATED_VALUE: "A list holds something twice.",
    FindingCode.INVALID_NUMBER: "The number is infinite, not a number, or outside 64 bits.",
    FindingCode.INVALID_VERSION: "The version is not major.minor, such as 1.0.",
    FindingCode.INVALID_NAME: "The name is not in snake_case, or is longer than 63 characters.",
    FindingCode.FILE_NAME: "An event's name is not that of its file.",
    FindingCode.RESERVED_NAME: "The tables or Polku need the name themselves, or the plan has reserved it.",
    FindingCode.KEYWORD_NAME: "The name is a word of SQL or Python and would have to be quoted.",
    FindingCode.DUPLICATE_NAME: "Two events have the same name, alias or call.",
    FindingCode.SIMILAR_NAMES: "Two names look like one: `product_id` and `productid`, a plural, a slip of the pen.",
    FindingCode.TWO_TYPES: "A property and a trait of the same name have different types.",
    FindingCode.UNREACHABLE_ALIAS: "No event can come in under the alias, or it is the name itself.",
    FindingCode.AMBIGUOUS_ALIAS: "The alias written in another case leads to another event.",
    FindingCode.UNKNOWN_PROPERTY: "The property is not in the dictionary, or not what is needed here.",
    FindingCode.UNUSED_PROPERTY: "No event uses the property.",
    FindingCode.NESTED_TYPE: "A list in a list, or an object in an object.",
    FindingCode.EMPTY_OBJECT: "An object without properties.",
    FindingCode.CONSTRAINT_TYPE: "The type has no such constraint.",
    FindingCode.IMPOSSIBLE_CONSTRAINT: "No value can fulfil the constraints together, or an enum value breaks them.",
    FindingCode.REDUNDANT_CONSTRAINT: "An enum already says what the constraint says.",
    FindingCode.LOOSER_CONSTRAINT: "An event allows what the dictionary forbids.",
    FindingCode.INVALID_PATTERN: "The pattern is not a regular expression.",
    FindingCode.PATTERN_DIALECT: "Other languages read the pattern differently, or not at all.",
    FindingCode.INVALID_DEFAULT: "The default is no scalar, breaks the constraints, or can never be used.",
    FindingCode.INVALID_EXAMPLE: "An example breaks the plan.",
    FindingCode.INVALID_RULE: "A `when` cannot be read.",
    FindingCode.IMPOSSIBLE_VALUE: "A `when` compares with a value that the name can never have.",
    FindingCode.DEAD_RULE: "A `when` can never hold.",
    FindingCode.HIDDEN_RULE: "A rule comes too late: an earlier one holds wherever it would.",
    FindingCode.NOT_STORED: "A rule or a sum asks for a value that the plan's `privacy` keeps from being stored.",
    FindingCode.UNREACHED_STAGE: "No event places anybody in the stage.",
    FindingCode.UNKNOWN_EVENT: "There is no such event.",
    FindingCode.INVALID_FUNNEL: "A funnel without two steps that are not optional, or whose window is no duration.",
    FindingCode.INVALID_TARGET: "A target that cannot be measured or reached, or whose currency no event can be in.",
    FindingCode.INVALID_DATE: "Not a date such as 2026-01-31.",
    FindingCode.STALE_ACCEPT: "An entry of `accept` that no warning answers to.",
}
"""One sentence per code, as the docs print it."""
