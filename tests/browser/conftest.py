"""Tests in a real browser, with Chromium and Playwright.

They run when they are named (`pytest tests/browser`, which is what `make test-browser` does) and are no part of a plain
`pytest`. When they are named and something they need is missing, they fail.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave these tests out of a run whose arguments do not lead into this folder."""
    named = [Path(config.invocation_params.dir, argument.partition("::")[0]).resolve() for argument in config.args]
    return None if any(path.is_relative_to(HERE) for path in named) else True


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's Chromium, or the one that Playwright brings where there is no such package.

    It finds every name that ends in `.test` on this machine: pages of several sites can be told apart.
    """
    from playwright.sync_api import sync_playwright

    quiet = (
        "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync"
    )
    with sync_playwright() as playwright:
        arguments = [*quiet.split(), "--host-resolver-rules=MAP *.test 127.0.0.1"]
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=arguments,
            ignore_default_args=["--disable-back-forward-cache"],  # people have it
        )
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a file in a window of its own. A message on the console, an error or a request fails the test."""
    contexts = []
    complaints: list[str] = []
    requested: list[str] = []

    def open_file(file: Path, fragment: str = "", *, width: int = 1280, height: int = 900, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: requested.append(request.url))
        page.goto(file.as_uri() + fragment)
        return page

    yield open_file
    for context in contexts:
        context.close()
    assert complaints == []
    assert [url for url in requested if not url.startswith("file:")] == []
