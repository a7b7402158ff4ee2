"""The live page of an endpoint in a real browser, while the endpoint has more to do than it can."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import httpx2 as httpx
import pytest

import textmill
from support.browser import Watched, chromium, opened, require
from support.serving import serving
from support.waiting import wait_for

SECONDS = 6.0


@pytest.fixture(scope="module")
def browser():
    require()
    with chromium() as found:
        yield found


def tiles(page):
    return page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll(".tile")].map(
            tile => [tile.id.slice(5), tile.querySelector("b").textContent]))"""
    )


def outlines(page):
    return page.evaluate(
        """() => [...document.querySelectorAll(".chart path")].map(one => one.getAttribute("d"))"""
    )


def number(text):
    return 0.0 if text == "–" else float(text.replace(",", ""))


def watched_under_load(page, url):
    """What the tiles and the lines of the charts showed, second by second, and the load's figures.

    More calls than are let in: some are refused whatever the machine.
    """
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(
            textmill.bench, url, rate=150, duration=SECONDS, parameters={"max_new_tokens": 40}
        )
        seen, drawn = [], set()
        while not load.done():
            seen.append(tiles(page))
            drawn.update(outlines(page))
            time.sleep(0.5)
        (stage,) = load.result().stages
    return seen, drawn, stage


def test_the_live_page_follows_a_load_and_asks_nobody_else(browser):
    with serving("--model", "demo", "--slo", "500ms", "--queue", "4", "--quiet") as served:
        with opened(browser, f"{served.url}/", allowed=[f"{served.url}/live"]) as watched:
            page = watched.page
            page.get_by_text("ready", exact=True).wait_for()
            assert number(tiles(page)["rate"]) < 1
            seen, drawn, stage = watched_under_load(page, served.url)
            assert stage.ok > 0
            assert stage.refused > 0
            for name in ("rate", "tokens", "refused"):
                values = [number(one[name]) for one in seen]
                assert len(set(values)) > 2, name
                assert values[-1] > values[0], name
            assert max(number(one["waiting"]) + number(one["running"]) for one in seen) > 0
            assert {one["slo"] for one in seen} == {"500 ms"}
            assert seen[-1]["p95"].endswith("s")
            assert len(drawn) > 8
            assert page.locator("#chart-latency line").count() == 1
            page.wait_for_function(
                "() => document.querySelector('#tile-waiting b').textContent === '0'"
                " && document.querySelector('#tile-running b').textContent === '0'"
            )
            minute = httpx.get(f"{served.url}/live").json()["minute"]
            assert number(tiles(page)["refused"]) == pytest.approx(minute["refused"], rel=0.05)
            assert page.locator("#state").inner_text() == "ready"
        assert served.stop() == 0


def test_a_page_whose_endpoint_has_ended_says_so_and_recovers(browser):
    """What is seen is what is: no figures of a server that is gone stand as if they were new."""
    with serving("--engine", "echo", "--quiet") as served:
        port = served.url.rsplit(":", 1)[1]
        watched = Watched(browser, f"{served.url}/", allowed=[f"{served.url}/live"])
        watched.page.get_by_text("ready", exact=True).wait_for()
        served.stop()
        watched.page.get_by_text("no answer", exact=True).wait_for()
    with serving("--engine", "echo", "--quiet", "--port", port) as again:
        wait_for(lambda: watched.page.locator("#state").inner_text() == "ready")
        assert again.url == served.url
        assert watched.requests == []
        watched.close()
