"""The page of a report in a real browser: loads nothing, works by keyboard, holds any text."""

from __future__ import annotations

import random
import re
import uuid

import pytest

import textmill
from support.browser import Watched, chromium, opened, require
from support.command import textmill as command
from support.command import write_lines
from support.evaluation import cnn_dailymail_like, demo, mutated
from support.serving import serving
from textmill.serving.load.arrivals import Stage

ROWS = 300
TEXT = "A <b>small</b> tool & its notes"
STATES = {"all": 300, "missing": 9, "scored": 290, "failed": 1, "duplicate": 0}
A4_WIDTH = 672
"""Pixels of a sheet within its margins."""
MOST_STOPS = 50
"""Tab stops between the table's first control and its last."""
HOSTILE = {
    "script": "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>",
    "ansi": "\x1b[31mred\x1b[0m \x9b2J \x07",
    "formula": '=HYPERLINK("http://evil.example/","x") @SUM(1) +1 -1',
    "bidi": "\u202eevil\u202d \u2067txt.exe\u2066",
    "long": "x" * 100_000,
    "nul": "a\x00b\x7f\ufffe\uffff",
    "surrogate": "half \ud83d of a pair",
    "style": "</style><style>*{display:none}</style><!-- --> ]]> &amp; &lt;",
    "zalgo": "z" + "\u0335\u0348\u030d" * 200,
    "empty": "",
}


@pytest.fixture(scope="module")
def browser():
    require()
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """300 records of the demo against a baseline, some failed and missing, in slices."""
    folder, rng = tmp_path_factory.mktemp("report"), random.Random(5)
    rows = demo()[:ROWS]
    write_lines(folder / "references.jsonl", *rows)
    ours = [{"id": one["id"], "text": mutated(one["summary"], rng)} for one in rows[:-10]]
    theirs = [{"id": one["id"], "text": one["document"][:60]} for one in rows]
    ours[3]["text"] = ""
    ours[4]["text"] = "word " * 40
    write_lines(folder / "ours.jsonl", *ours)
    write_lines(folder / "theirs.jsonl", *theirs)
    failed = {"id": rows[-1]["id"], "line": 300, "code": "too_long", "message": "9,999 tokens"}
    write_lines(folder / "ours.errors.jsonl", failed)
    done = command(
        *("score", "ours.jsonl", "references.jsonl", "--ref", "summary", "--source", "document"),
        *("--baseline", "theirs.jsonl", "--by", "section", "--report", "report.html"),
        cwd=folder,
    )
    assert done.code == 0, done.err
    assert "report    report.html" in done.out
    return folder / "report.html"


@pytest.fixture
def page(browser, report):
    with opened(browser, report, viewport={"width": 1280, "height": 900}) as found:
        yield found


def test_it_says_what_was_found_in_its_parts(page):
    heading = page.page.locator("h1").inner_text()
    assert re.match(
        r"Better than the baseline: rouge1 \+0\.\d{4} \(.*\), p 0\.\d{4}; .*\.", heading
    )
    assert heading.endswith("; 10 predictions are missing and count as 0.")
    where = page.page.locator(".lead .where").inner_text()
    assert re.match(
        r"Of \d+ slices with an interval, rouge1 is above the baseline's in \d+ \(", where
    )
    assert page.shown("h2") == [
        *("Accounting", "Scores", "Against the baseline", "Slices", "Look at the data"),
        *("Lengths", "Failures", "Provenance"),
    ]
    said = page.page.locator("#accounting svg").first.get_attribute("aria-label")
    assert said == "references 300 = scored 290 + failed 1 + missing 9 + duplicate 0"
    assert "9,999 tokens" in page.page.locator("#failures").inner_text()
    again = page.page.locator("#provenance pre").first.inner_text()
    assert again.startswith("textmill score ours.jsonl references.jsonl --ref summary")


def test_records_are_chosen_searched_and_sorted_with_the_mouse(page):
    assert len(page.shown("article")) == 20
    page.page.get_by_role("radio", name="Best").check()
    assert "lowest" not in page.page.locator("#cards-order option:checked").inner_text()
    best = page.shown("article")
    assert "1.0000" in best[0]
    page.page.get_by_role("radio", name="Empty").check()
    (empty,) = page.shown("article")
    assert "nothing" in empty
    page.page.get_by_role("radio", name="All").check()
    whole = len(page.shown("article"))
    page.page.locator("#cards-search").fill("WORD WORD word")
    (found,) = page.shown("article")
    assert "repeats itself" in found
    assert page.page.locator("#cards-count").inner_text().startswith(f"1 record of {whole}")


def test_the_table_is_sorted_filtered_and_searched_by_keyboard_alone(page):
    keyboard = page.page.keyboard
    page.page.locator("#records-search").focus()
    keyboard.type("12")
    ids = page.shown("#records-table tbody th")
    assert ids
    assert all("12" in one for one in ids)
    keyboard.press("Control+a")
    keyboard.press("Delete")
    page.page.locator("#records-state").focus()
    counts = {}
    for _ in range(5):
        chosen = page.page.locator("#records-state option:checked").inner_text()
        counts[chosen] = page.page.locator("#records-count").inner_text()
        keyboard.press("ArrowDown")
    assert counts == {
        name: f"{count} records of 300".replace("1 records", "1 record")
        for name, count in STATES.items()
    }
    keyboard.press("Home")
    assert page.page.locator("#records-count").inner_text() == "300 records of 300"
    for _ in range(MOST_STOPS):
        if page.page.evaluate("() => document.activeElement.textContent") == "difference":
            break
        keyboard.press("Tab")
    keyboard.press("Enter")
    falling = [float(one.replace("−", "-")) for one in page.shown("#records-table td:nth-child(4)")]
    assert falling == sorted(falling, reverse=True)
    keyboard.press("Space")
    rising = [float(one.replace("−", "-")) for one in page.shown("#records-table td:nth-child(4)")]
    assert rising == sorted(rising) != falling
    sorts = page.page.locator("th[aria-sort]")
    assert sorts.get_attribute("aria-sort") == "ascending"
    page.page.locator("#records-least").fill("0.9")
    assert all(float(one) >= 0.9 for one in page.shown("#records-table td:nth-child(2)"))


def test_a_slice_and_the_next_page_of_the_table(page):
    first = page.shown("#records-table tbody th")
    page.page.get_by_role("button", name="Next").click()
    second = page.shown("#records-table tbody th")
    assert len(first) == len(second) == 25
    assert not set(first) & set(second)
    page.page.locator("#records-column-0").select_option(label="perl")
    perl = sum(row["section"] == "perl" for row in demo()[:ROWS])
    assert page.page.locator("#records-count").inner_text() == f"{perl} records of 300"


def test_a_link_to_a_record_shows_it_whatever_was_chosen(page):
    page.page.get_by_role("radio", name="Empty").check()
    link = page.page.locator("#baseline a").first
    link.focus()
    page.page.keyboard.press("Enter")
    target = link.get_attribute("href")
    page.page.wait_for_function("id => document.activeElement.id === id", arg=target[1:])
    assert page.page.locator(target).is_visible()


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (768, "light"), (1280, "dark")])
def test_it_fits_every_width_and_axe_finds_no_fault_light_or_dark(
    browser, report, tmp_path, width, scheme
):
    with opened(
        browser, report, viewport={"width": width, "height": 800}, color_scheme=scheme
    ) as page:
        assert page.overflow() == 0
        shot = page.page.screenshot(path=tmp_path / "page.png", full_page=True)
        assert len(shot) > 50_000
        assert width == 768 or page.faults() == []


def test_no_figure_of_a_comparison_is_cut_at_800_pixels(browser, report):
    """Half of 0.0001 reads as 0.000. Where a table scrolls, its lines go on under its first
    column, which does not: borders that collapse would scroll away."""
    with opened(browser, report, viewport={"width": 800, "height": 900}) as page:
        box = page.page.locator("#baseline .scroll").first
        assert box.evaluate("box => box.scrollWidth - box.clientWidth") == 0
        heads = box.locator("thead th").all_inner_texts()
        assert heads.index("p") < heads.index("less | more")
        collapse = "table => getComputedStyle(table).borderCollapse"
        assert box.locator("table").evaluate(collapse) == "separate"


def test_it_prints_whole_tables_on_a4(browser, report, tmp_path):
    with opened(browser, report, viewport={"width": A4_WIDTH, "height": 900}) as page:
        printed = page.page.pdf(path=tmp_path / "report.pdf", format="A4")
        assert printed.startswith(b"%PDF")
        page.page.emulate_media(media="print")
        assert page.overflow() == 0
        assert not page.page.locator("#cards-tools").is_visible()
        assert page.shown("article")


def test_without_javascript_every_text_is_there(browser, report):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.resolve().as_uri())
    cards = page.locator("article").all()
    assert len(cards) == report.read_text("utf-8").count("<article") > 20
    assert all(card.is_visible() and card.locator(".text").first.inner_text() for card in cards)
    assert page.locator("#records-without").is_visible()
    context.close()


def write_literals(path, *rows):
    """As SageMaker writes rows: the only format that holds half a surrogate pair."""
    write_lines(path, *[repr(row).encode("ascii", "backslashreplace") for row in rows])


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Every hostile text as id, prediction, reference, slice, code and message, and one plain
    record beside them."""
    folder = tmp_path_factory.mktemp("hostile")
    texts = {**HOSTILE, "plain": TEXT}
    rows = [
        {"id": f"{name} {text[:200]}", "text": text, "kind": text[:300]}
        for name, text in texts.items()
    ]
    lost = [{"id": f"lost {name} {text[:50]}", "text": text} for name, text in HOSTILE.items()]
    for row in lost:
        row["kind"] = "lost"
    write_literals(folder / "references.jsonl", *rows, *lost)
    write_literals(folder / "p.jsonl", *[{"id": one["id"], "text": one["text"]} for one in rows])
    errors = [
        {"id": one["id"], "line": 1, "code": one["text"][:80] or "none", "message": one["text"]}
        for one in lost
    ]
    write_literals(folder / "p.errors.jsonl", *errors)
    textmill.score(
        *(folder / "p.jsonl", folder / "references.jsonl"),
        **{"ref": "text", "source": "text", "by": ["kind"], "baseline": folder / "p.jsonl"},
        report=folder / "report.html",
    )
    return folder / "report.html"


def test_hostile_texts_change_nothing_but_their_own_cell(browser, hostile):
    with opened(browser, hostile, viewport={"width": 360, "height": 800}) as page:
        assert page.page.title() != "owned"
        assert page.overflow() == 0
        assert page.page.locator("img, iframe, object").count() == 0
        assert page.page.locator("style").count() == page.page.locator("script").count() == 1
        page.page.get_by_role("radio", name="All").check()
        cards = page.page.locator("article")
        by_name = {cards.nth(at).locator("h3").inner_text().split()[1]: cards.nth(at)
                   for at in range(cards.count())}  # fmt: skip
        text = by_name["plain"].locator(".text").first
        assert text.inner_text() == TEXT
        assert HOSTILE["script"] in by_name["script"].locator(".text").first.inner_text()
        assert "␛[31mred" in by_name["ansi"].inner_text()
        assert "a␀b␡" in by_name["nul"].inner_text()
        assert re.search(r"… 99,\d{3} more characters", by_name["long"].inner_text())
        assert "half � of a pair" in by_name["surrogate"].inner_text()
        for name in HOSTILE:
            assert by_name[name].evaluate("card => getComputedStyle(card).direction") == "ltr"


def test_a_right_to_left_override_ends_with_its_cell(browser, hostile):
    """Words after it stand where they stood: left to right, and in their order."""
    with opened(browser, hostile) as page:
        page.page.get_by_role("radio", name="All").check()
        places = page.page.evaluate(
            """() => {
              const card = [...document.querySelectorAll("article")].find(one =>
                one.querySelector("h3").textContent.startsWith("id bidi"));
              const values = [...card.querySelectorAll(".values > div")];
              return values.map(one => one.getBoundingClientRect().left);
            }"""
        )
        assert len(places) > 1
        assert places == sorted(places)


def test_the_page_of_a_job(browser, tmp_path):
    rows = [{"id": n, "text_inputs": f"{n} " + "again and again and again " * (n % 7)}
            for n in range(120)]  # fmt: skip
    rows += [{"id": "bad", "text_inputs": 5}, {"id": "<i>", "text_inputs": HOSTILE["script"]}]
    write_lines(tmp_path / "in.jsonl", *rows)
    flags = ("-o", "out.jsonl", "--engine", "echo", "--report", "job.html")
    done = command("run", "in.jsonl", *flags, cwd=tmp_path)
    assert done.code == 3
    assert "report    job.html" in done.out
    with opened(browser, tmp_path / "job.html", viewport={"width": 360, "height": 800}) as page:
        assert page.page.locator("h1").inner_text() == "121 of 122 rows have a result."
        assert page.shown("h2") == [
            *("Accounting", "Speed of the last run", "Lengths", "Look at the data", "Failures"),
            "Provenance",
        ]
        assert page.page.locator("#speed svg").count() == 4
        assert page.page.locator("#lengths svg").count() == 2
        assert "bad_record 1" in page.page.locator("#failures").inner_text()
        page.page.get_by_role("radio", name="Repeats itself").check()
        assert len(page.shown("article")) == 10
        assert page.page.locator("#records-count").inner_text() == "121 records of 121"
        assert page.overflow() == 0
    first = (tmp_path / "job.html").read_bytes()
    again = command("run", "in.jsonl", *flags, cwd=tmp_path)
    assert "already complete" in again.out
    assert (tmp_path / "job.html").read_bytes() == first


def test_ten_thousand_records_are_under_300_kb(browser, tmp_path):
    """With long ids, long texts, several slices and a baseline."""
    rng = random.Random(1)
    texts, wanted = cnn_dailymail_like(10_000)
    ids = [str(uuid.UUID(int=rng.getrandbits(128))) for _ in texts]
    more = [{"a": n % 150, "b": n % 90, "c": n % 7, "source": text * 9}
            for n, text in enumerate(texts)]  # fmt: skip
    rows = [{"id": one, "ref": text, **rest}
            for one, text, rest in zip(ids, wanted, more, strict=True)]  # fmt: skip
    write_lines(tmp_path / "references.jsonl", *rows)
    for name, some in (("a", texts), ("b", [*texts[1:], texts[0]])):
        write_lines(
            tmp_path / f"{name}.jsonl",
            *[{"id": one, "text": text} for one, text in zip(ids, some, strict=True)],
        )
    textmill.score(
        *(tmp_path / "a.jsonl", tmp_path / "references.jsonl"),
        **{"ref": "ref", "source": "source", "by": ["a", "b", "c"]},
        **{"baseline": tmp_path / "b.jsonl", "samples": 100, "report": tmp_path / "r.html"},
    )
    assert (tmp_path / "r.html").stat().st_size < 300_000
    with opened(browser, tmp_path / "r.html") as page:
        assert page.page.locator("#records-count").inner_text() == "10,000 records of 10,000"
        assert "Ids are cut to their first 8" in page.page.locator("#records").inner_text()
        page.page.locator("#records-search").fill(ids[7])
        assert page.shown("#records-table tbody th") == [ids[7][:8]]


def test_the_page_of_a_load_test(browser, tmp_path):
    seconds = tuple(n / 100 for n in range(1, 40))
    stages = tuple(
        Stage(rate=rate, duration=1.0, sent=45, refused=rate, failed=1, seconds=seconds)
        for rate in (1, 2, 4)
    )
    found = textmill.Bench(url="http://x/<script>", alone=0.01, slo=0.2, stages=stages)
    found.write_report(tmp_path / "bench.html")
    with opened(browser, tmp_path / "bench.html", viewport={"width": 360, "height": 800}) as page:
        assert page.overflow() == 0
        assert len(page.shown("figure")) == 2
        assert page.faults() == []


def test_the_live_page_of_an_endpoint(browser):
    with serving("--engine", "echo") as server:
        allowed = [f"{server.url}/live"]
        with opened(browser, f"{server.url}/", allowed=allowed, color_scheme="dark") as page:
            page.page.get_by_text("ready", exact=True).wait_for()
            assert len(page.shown(".tile")) == 10
            assert page.page.locator(".chart svg").count() == 4
            assert page.faults() == []


def test_the_watch_sees_what_it_is_there_for(browser, tmp_path):
    """A page that loads, runs and breaks something is told of; else the tests above say nothing."""
    page = tmp_path / "bad.html"
    page.write_text(
        """<!doctype html><html data-ready="yes"><meta http-equiv="Content-Security-Policy"
        content="default-src 'none'; img-src *"><img src="http://elsewhere.example/x.png">
        <p onclick="x()">x</p><script>document.title = "ran"</script>"""
    )
    watched = Watched(browser, page)
    assert watched.requests == ["http://elsewhere.example/x.png"]
    assert any("Content Security Policy" in one for one in watched.complaints)
    watched.close()


def test_values_on_the_page_are_those_of_the_scores(browser, report):
    folder = report.parent
    scores = textmill.score(
        folder / "ours.jsonl", folder / "references.jsonl", ref="summary", samples=0
    )
    values = [f"{value:.3f}" for value in scores.records.values["rouge1"][:25]]
    with opened(browser, report) as page:
        assert page.shown("#records-table td:nth-child(2)") == values
        assert page.page.locator("#scores td").first.inner_text() == f"{scores.rouge1.value:.4f}"
