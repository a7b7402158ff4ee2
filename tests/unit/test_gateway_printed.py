"""The log of a process's output: every line once, whoever reads when, and whatever is killed."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from textmill.gateway.printed import Printed
from textmill.gateway.transform.log import LOG, read_log

OUTPUT = "out"
LINES = st.lists(st.text("aé€ \x1b", max_size=4), max_size=6)


@given(st.lists(st.tuples(LINES, st.lists(st.integers(0, 40), max_size=4)), max_size=3), st.data())
def test_every_line_of_every_process_is_in_the_log_once(processes, data):
    """Read at any moments; between two of them the reader may be killed as it writes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log, expected = Printed(folder, OUTPUT), []
        for lines, moments in processes:
            log.collect(ended=True)
            (folder / OUTPUT).write_bytes(b"")
            log.began()
            printed = "".join(f"{line}\n" for line in lines).encode()
            expected += ["the endpoint's process begins", *(line.rstrip() for line in lines)]
            for moment in sorted(moments):
                (folder / OUTPUT).write_bytes(printed[:moment])
                log.collect(ended=False)
                if data.draw(st.booleans()):
                    with (folder / LOG).open("ab") as file:
                        file.write(b'{"at":1,"mess')
                    log = Printed(folder, OUTPUT)
            (folder / OUTPUT).write_bytes(printed)
        log.collect(ended=True)
        found = read_log(folder)
    assert [one.message for one in found] == expected
    assert [one.at for one in found] == sorted(one.at for one in found)


def test_a_line_without_an_end_is_logged_when_its_process_has_ended(tmp_path):
    (tmp_path / OUTPUT).write_bytes(b"whole\nbroken o\xff")
    log = Printed(tmp_path, OUTPUT)
    log.collect(ended=False)
    assert [one.message for one in read_log(tmp_path)] == ["whole"]
    log.collect(ended=True)
    log.collect(ended=True)
    assert [one.message for one in read_log(tmp_path)] == ["whole", "broken o\ufffd"]
