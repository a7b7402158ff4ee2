"""What the end of an engine's process means."""

from __future__ import annotations

import pytest

from textmill.engines.isolated import pause_before_next_load, verdict
from textmill.engines.process import Exit
from textmill.errors import ErrorCode, ModelError


@pytest.mark.parametrize(
    ("exit_", "code", "tries", "words"),
    [
        (Exit(-11, ""), ErrorCode.CRASHED, 1, "SIGSEGV"),
        (Exit(-9, ""), ErrorCode.CRASHED, 3, "memory"),
        (Exit(-15, ""), ErrorCode.CRASHED, 3, "SIGTERM"),
        (Exit(-64, ""), ErrorCode.CRASHED, 1, "SIGRTMAX"),
        (Exit(-63, ""), ErrorCode.CRASHED, 1, "signal 63"),
        (Exit(3, "a\nTheError: b\n"), ErrorCode.CRASHED, 1, "status 3; its last words: TheError"),
        (Exit(-6, "what():  std::bad_alloc\n"), ErrorCode.OOM, 1, "out of memory"),
        (Exit(-6, "malloc(): corrupted top size\n"), ErrorCode.CRASHED, 1, "corrupted top"),
    ],
)
def test_an_exit_becomes_a_code_and_a_sentence(
    exit_: Exit, code: ErrorCode, tries: int, words: str
) -> None:
    error, allowed = verdict(exit_)
    assert (error.code, allowed) == (code, tries)
    assert words in error.message
    assert "\n" not in error.message


def test_loading_is_tried_longer_when_somebody_kills_it() -> None:
    crash, kill = Exit(-11, ""), Exit(-9, "")
    assert [pause_before_next_load([crash] * n) for n in (1, 2)] == [0, 0]
    with pytest.raises(ModelError, match="SIGSEGV"):
        pause_before_next_load([crash] * 3)
    pauses = [pause_before_next_load([kill] * n) for n in range(1, 8)]
    assert pauses == sorted(pauses)
    assert 0 < sum(pauses) < 20
    with pytest.raises(ModelError, match="SIGKILL") as error:
        pause_before_next_load([kill] * 8)
    assert "memory" in str(error.value)
