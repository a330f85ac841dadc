"""The events that the demo tracks with are those of the built-in plan."""

from pathlib import Path

from click.testing import CliRunner

from polku_schemas.commands.generate import generate

ROOT = Path(__file__).parents[2]
FILE = "analytics/polku_demo/events.py"


def test_the_generated_file_is_what_the_built_in_plan_says() -> None:
    """If not: `polku plan generate --python analytics/polku_demo/events.py`, from the root of the repository."""
    result = CliRunner().invoke(generate, ["--python", str(ROOT / FILE), "--check"])
    assert result.exit_code == 0, f"{result.output}\npolku plan generate --python {FILE}"
