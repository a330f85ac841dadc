"""Whether two engines say the same."""

from __future__ import annotations

from typing import Any

import pytest


def differences(found: Any, expected: Any, place: str = "") -> list[str]:
    """Where two answers differ; sums of doubles may, in their last digits."""
    if isinstance(found, dict) and isinstance(expected, dict) and found.keys() == expected.keys():
        return [text for name in found for text in differences(found[name], expected[name], f"{place}.{name}")]
    if isinstance(found, list | tuple) and isinstance(expected, list | tuple) and len(found) == len(expected):
        pairs = enumerate(zip(found, expected, strict=True))
        return [text for number, (a, b) in pairs for text in differences(a, b, f"{place}[{number}]")]
    if isinstance(found, float) and isinstance(expected, float) and found == pytest.approx(expected, rel=1e-9):
        return []
    same = found == expected and type(found) is type(expected)
    return [] if same else [f"{place}: {found!r} instead of {expected!r}"]
