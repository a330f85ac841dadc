"""The description of the endpoints is that of the code: every address, method and status, and nothing else."""

import json
import re
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

import polku_collector
from polku_collector.intake.paths import PATHS
from polku_collector.intake.pixel import PIXEL_PATHS
from polku_collector.openapi import ERRORS, openapi
from polku_collector.settings import Source

from .intake.world import World, intake

COLLECTOR = Path(polku_collector.__file__).parent
ASSET = Path(__file__).parents[2] / "docs" / "openapi.json"


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    with intake() as world:
        return _fetched(world)


def _fetched(world: World) -> dict[str, Any]:
    answer = world.client.get("/v1/openapi.json")
    assert answer.status_code == 200
    document: dict[str, Any] = answer.json()
    return document


def test_it_is_openapi(described: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(described).validate()
    names = [
        operation["operationId"]
        for path in described["paths"].values()
        for operation in path.values()
        if "responses" in operation
    ]
    assert len(set(names)) == len(names)


def test_it_has_every_address_and_no_other(described: dict[str, Any]) -> None:
    source = (COLLECTOR / "app.py").read_text(encoding="utf-8")
    routes = set(re.findall(r'Route\("([^"]+)"', source))
    assert len(routes) == 4
    assert set(described["paths"]) == {*PATHS, *PIXEL_PATHS, *routes, "/v1/webhook/{name}"}


def test_it_has_every_status_of_a_refusal() -> None:
    source = "".join(
        file.read_text(encoding="utf-8") for part in ("intake", "webhook") for file in (COLLECTOR / part).glob("*.py")
    )
    raised = {int(status) for status in re.findall(r"(?:Refused|answer)\(\s*(\d+),", source)} | {404}
    raised |= {403, *get_args(get_type_hints(Source)["rate_status"])}  # of RefusedBySource
    assert raised == set(ERRORS)


def test_every_address_answers_as_it_says(described: dict[str, Any]) -> None:
    with intake() as world:
        for path, operations in described["paths"].items():
            for method in ("get", "head", "post", "options"):
                address = path.replace("{name}", "none")
                answer = world.client.request(method, address, params={"writeKey": "web-key"}, content=b"")
                if method in operations:
                    assert str(answer.status_code) in operations[method]["responses"], (method, path)
                elif method != "head" or "get" not in operations:
                    assert answer.status_code in (404, 405), (method, path)


def test_the_page_of_the_docs_is_fresh(described: dict[str, Any]) -> None:
    """`python -m tests.collector.test_openapi` writes it anew."""
    written = json.loads(ASSET.read_text(encoding="utf-8"))
    assert written | {"info": {}} == described | {"info": {}}, "but for its version"


if __name__ == "__main__":
    from polku import __version__

    ASSET.write_text(json.dumps(openapi(__version__), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
