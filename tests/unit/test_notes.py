"""Notes of what happened to a run: counted all, told now and then."""

from __future__ import annotations

import asyncio

from textmill.engines.openai_api.pacing import Gate
from textmill.engines.openai_api.waiting import Retries
from textmill.telemetry import NOTE_SECONDS, Action, Notes, note


def test_all_notes_are_counted_and_only_while_somebody_listens():
    with Notes() as notes:
        note(Action.WAITED, "100% busy")
        note(Action.WAITED, "busy")
        note(Action.SHRUNK, "less")
    note(Action.SHRUNK, "nobody counts this")
    assert notes.counts == {"waited": 2, "shrunk": 1}


def test_of_many_of_one_kind_one_is_told_and_then_how_many_there_were():
    told: list[str] = []
    time = [0.0]
    with Notes(told.append, now=lambda: time[0]):
        for number in range(4):
            note(Action.WAITED, f"busy {number}")
        note(Action.SHRUNK, "less")
        time[0] += NOTE_SECONDS
        note(Action.WAITED, "busy again")
    assert told == ["busy 0", "less", "busy again (and 3 more like it before)"]


def test_one_hold_is_one_note_however_many_requests_it_holds():
    async def holds() -> None:
        gate = Gate(8, Retries())
        for _ in range(5):
            gate.hold(30.0, "the server is busy (429)")

    told: list[str] = []
    with Notes(told.append) as notes:
        asyncio.run(holds())
    assert told == ["the server is busy (429): waiting 30.0 s"]
    assert notes.counts == {"waited": 1}
