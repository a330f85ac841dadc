"""Typed events for the user's own repository: a plan in, source text out, the same bytes every time."""

from polku_schemas.generate.files import GenerateError, Target, difference, write
from polku_schemas.generate.python import python_source
from polku_schemas.generate.python_types import python_types_source
from polku_schemas.generate.shapes import SelectionError
from polku_schemas.generate.typescript import typescript_source

__all__ = [
    "GenerateError",
    "SelectionError",
    "Target",
    "difference",
    "python_source",
    "python_types_source",
    "typescript_source",
    "write",
]
