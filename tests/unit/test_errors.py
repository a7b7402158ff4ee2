"""What any exception means, as a table: code of a record, message, exit code of a command."""

from __future__ import annotations

import errno

import pytest
from cyclopts import CycloptsError

from textmill import errors
from textmill.cli.main import INTERRUPTED
from textmill.cli.runner import explain
from textmill.errors import (
    CorruptModel,
    EngineError,
    EngineUnavailable,
    ErrorCode,
    ExitCode,
    InputError,
    InvariantError,
    ParameterError,
    TooManyErrors,
    engine_error,
    meaning_of,
)

FAILED = ErrorCode.ENGINE_ERROR
MEANINGS = [
    (InputError("no", hint="do"), (FAILED, "no", "do", 2)),
    (CorruptModel("torn"), (FAILED, "torn", None, 2)),
    (
        ParameterError("top_k", -1, "must be at least 0"),
        (FAILED, "top_k=-1: must be at least 0", None, 2),
    ),
    (TooManyErrors("many"), (FAILED, "many", None, 4)),
    (InvariantError("bug"), (FAILED, "bug", None, 70)),
    (EngineError("slow", code=ErrorCode.TIMEOUT), (ErrorCode.TIMEOUT, "slow", None, 70)),
    (EngineUnavailable("away", hint="later"), (FAILED, "away", "later", 75)),
    (MemoryError(), (ErrorCode.OOM, "out of memory", None, 70)),
    (RuntimeError("std::bad_alloc"), (ErrorCode.OOM, "out of memory", None, 70)),
    (
        RuntimeError("mkl_malloc: failed to allocate memory"),
        (ErrorCode.OOM, "out of memory", None, 70),
    ),
    (
        RuntimeError("CUDA failed with error out of memory"),
        (ErrorCode.OOM, "out of memory", None, 70),
    ),
    (RuntimeError("shape"), (FAILED, "RuntimeError: shape", None, 70)),
    (KeyError("allocated"), (FAILED, "KeyError: 'allocated'", None, 70)),
    (
        OSError(errno.ENOSPC, "No space left on device"),
        (FAILED, "No space left on device", None, 2),
    ),
    (PermissionError(errno.EACCES, "denied", "a.bin"), (FAILED, "a.bin: denied", None, 2)),
]


@pytest.mark.parametrize(("error", "meaning"), MEANINGS, ids=lambda x: type(x).__name__)
def test_every_exception_means_a_code_a_message_and_an_exit_code(error, meaning):
    assert meaning_of(error) == meaning


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (MemoryError("x"), ErrorCode.OOM, "out of memory"),
        (ValueError("shape"), FAILED, "the engine failed: ValueError: shape"),
        (EngineError("late", code=ErrorCode.TIMEOUT), ErrorCode.TIMEOUT, "late"),
    ],
)
def test_an_engines_exception_is_an_engine_error_with_its_cause(error, code, message):
    found = engine_error(error)
    assert (found.code, found.message) == (code, message)
    assert error in (found, found.__cause__)


PRINTED = [
    (InputError("no", hint="do"), ("error: no\n  do\n", 2)),
    (TooManyErrors("many"), ("error: many\n", 4)),
    (MemoryError(), ("error: out of memory\n  a job keeps its finished rows\n", 70)),
    (OSError(errno.EIO, "Input/output error"), ("error: Input/output error\n", 2)),
    (
        KeyboardInterrupt(),
        ("interrupted: the same command goes on where this one stopped\n", INTERRUPTED),
    ),
    (CycloptsError(msg="Unknown"), ("error: Unknown\n  see textmill --help\n", 2)),
]


@pytest.mark.parametrize(("error", "printed"), PRINTED, ids=lambda x: type(x).__name__)
def test_a_command_that_fails_prints_a_sentence_and_what_to_do(error, printed):
    assert explain(error) == printed


def test_a_bug_is_told_as_one_with_where_it_was():
    with pytest.raises(KeyError) as forgotten:
        {}["forgotten"]
    message, code = explain(forgotten.value)
    assert "test_errors.py" in message
    assert message.endswith(
        "error: KeyError: 'forgotten'\n  this is a bug of textmill: please report it\n"
    )
    assert code == ExitCode.BROKEN


def test_what_the_entry_point_knows_before_it_imports_anything_is_the_same():
    assert ExitCode.INTERRUPTED == INTERRUPTED


def test_no_error_has_an_exit_code_outside_of_the_list():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    ours = [kind for kind in kinds if issubclass(kind, errors.TextmillError)]
    assert all(isinstance(kind.exit_code, ExitCode) for kind in ours)
