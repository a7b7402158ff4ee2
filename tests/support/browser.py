"""Pages opened in the machine's own Chromium, watched: what they ask for, complain of and break."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


def require() -> Any:
    """Playwright's entry point; skips the test where a browser cannot be driven."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    return pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser."""
    with require().sync_playwright() as driver:
        # A container has no namespaces to make a sandbox of; the pages are our own.
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Watched:
    """A page of a file, and all that it should not do.

    requests: what it asked for besides itself and `allowed`, and was refused. complaints: errors
    of the script, of the console, and what its policy forbade.
    """

    def __init__(
        self, browser: Any, place: Path | str, *, allowed: Sequence[str] = (), **context: Any
    ) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.context = browser.new_context(**context)
        self.page = self.context.new_page()
        self._url = place if isinstance(place, str) else place.resolve().as_uri()
        self._allowed = {self._url, *allowed}
        self.page.route("**/*", self._route)
        self.page.on("console", lambda said: self.complaints.append(f"{said.type}: {said.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(self._url)
        self.page.wait_for_function(
            """() => !document.scripts.length || document.documentElement.dataset.ready"""
        )

    def _route(self, route: Any) -> None:
        if route.request.url in self._allowed:
            route.continue_()
        else:
            self.requests.append(route.request.url)
            route.abort()

    def check(self) -> None:
        """It asked for nothing and nothing went wrong."""
        assert self.requests == []
        assert self.complaints == []

    def overflow(self) -> int:
        """How many pixels the page is wider than its window."""
        return int(
            self.page.evaluate(
                "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
        )

    def shown(self, selector: str) -> list[str]:
        """The texts of what is seen of it."""
        return [one.inner_text() for one in self.page.locator(selector).all() if one.is_visible()]

    def faults(self) -> list[tuple[str, str]]:
        """What axe finds serious or critical, and the first place of each."""
        axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
        found = axe.run(self.page).response["violations"]
        grave = (one for one in found if one["impact"] in {"serious", "critical"})
        return [(one["id"], one["nodes"][0]["html"][:200]) for one in grave]

    def close(self) -> None:
        self.context.close()


@contextmanager
def opened(browser: Any, place: Path | str, **context: Any) -> Iterator[Watched]:
    """A page; when it is left, that it asked for nothing and complained of nothing."""
    watched = Watched(browser, place, **context)
    try:
        yield watched
        watched.check()
    finally:
        watched.close()
