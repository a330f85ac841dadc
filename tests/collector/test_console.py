"""What a developer's console shows of events: one line each, whatever was sent."""

from polku_collector.compose_intake import _echo_lines

from .intake.test_validate import judge_one


def test_an_event_is_one_line_and_gives_the_terminal_no_commands() -> None:
    name = "seen\x1b[2J\n✓ 12:00:00 order_completed user-1\u202e"
    _, judged = judge_one({"type": "track", "event": name, "userId": "u\x07\x9b1"})
    (line,) = _echo_lines(judged)
    assert line.startswith("! 12:00:00 seen\\x1b[2J\\x0a✓ 12:00:00 order_completed user-1\\u202e u\\x07\\x9b1: ")
    assert line.isprintable()


def test_plain_names_stay_as_they_are() -> None:
    _, judged = judge_one({"type": "track", "event": "Näytetty 👩‍🚀", "userId": "äiti"})
    assert next(_echo_lines(judged)).startswith("! 12:00:00 Näytetty 👩‍🚀 äiti: unknown_event at $.event: ")
