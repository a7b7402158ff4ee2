"""Make docs/img/report.png, the picture in the README, from the commands that stand beside it.

`python docs/picture.py FOLDER` works in FOLDER, where jobs that are done are not done again. Needs
Chromium and playwright, as the tests of pages do; about three minutes.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

from playwright.sync_api import sync_playwright

PICTURE = Path(__file__).parent.resolve() / "img" / "report.png"
WIDTH = 1080
RUN = ("--model", "demo", "--prompt", "Briefly summarize this text: {document}", "--quiet")
COMPARED = ("--baseline", "greedy.jsonl", "--by", "section", "--report", "report.html")
COMMANDS = (
    ("run", "packages.jsonl", "-o", "greedy.jsonl", *RUN),
    ("run", "packages.jsonl", "-o", "predict.jsonl", *RUN, "--set", "num_beams=4"),
    ("score", "predict.jsonl", "packages.jsonl", "--ref", "summary", *COMPARED),
)


def make_report(folder: Path) -> Path:
    """Greedy against beam search over the demo's records."""
    data = files("textmill").joinpath("assets/demo/data/packages.jsonl")
    (folder / "packages.jsonl").write_bytes(data.read_bytes())
    for command in COMMANDS:
        line = [sys.executable, "-m", "textmill", *command]
        subprocess.run(line, cwd=folder, check=True)  # noqa: S603  a command of ours
    return folder / "report.html"


def take(report: Path) -> None:
    """The page's beginning, up to the records that moved most."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("chromium-browser"),
            args=["--no-sandbox"],  # a container has no namespaces to make one of
        )
        page = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme="light")
        page.goto(report.as_uri())
        page.wait_for_function("() => document.documentElement.dataset.ready")
        end = page.evaluate(
            "() => document.querySelector('#baseline .two').getBoundingClientRect().top"
        )
        page.screenshot(
            path=PICTURE,
            full_page=True,
            clip={"x": 0, "y": 0, "width": WIDTH, "height": end},
        )
        browser.close()


if __name__ == "__main__":
    workplace = Path(sys.argv[1]).resolve()
    workplace.mkdir(parents=True, exist_ok=True)
    take(make_report(workplace))
