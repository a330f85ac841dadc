"""Text that anybody may have sent, as a terminal is shown it: it gives no commands, and turns no line around."""

from typing import Final

VISIBLE: Final = {
    **{code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))},
    **{code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))},
}
"""For `str.translate`: control characters, and those that change the direction of writing, by their codes."""
