"""Every error textmill raises, and the closed list of codes a record can fail with.

TextmillError
├─ UsageError                      what was asked cannot be done as asked (exit 2)
│  ├─ ParameterError               a generation parameter: name, type, range or combination
│  │  └─ UnsupportedParameter      valid, but this engine or model cannot honour it
│  ├─ PromptError                  a prompt template
│  ├─ InputError                   an input that cannot be read
│  ├─ OutputError                  an output that cannot be written
│  ├─ ModelError                   a model that cannot be used
│  │  ├─ ModelNotFound             no such catalog id, repository or folder
│  │  ├─ UnsupportedModel          an architecture or tokenizer textmill does not know
│  │  ├─ CorruptModel              files that are damaged, missing or disagree
│  │  └─ UnsafeModel               files that would have to be executed to be read
│  └─ ResumeRefused                the unfinished job was started with something else
├─ EngineError                     the engine failed on a batch (becomes a record's error)
│  └─ EngineUnavailable            the engine is away; the job stops and may go on later (exit 75)
├─ TooManyErrors                   --max-errors was passed (exit 4)
└─ InvariantError                  textmill's own accounting does not add up: a bug (exit 70)

A bad record is a value (`ErrorCode`), a bad system an exception (these classes). What any exception
means, ours or not, `meaning_of` decides.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import ClassVar, NamedTuple

from textmill.words import written


class ExitCode(IntEnum):
    """How a command ended."""

    DONE = 0
    """Done; every row has a result."""
    REFUSED = 2
    """It cannot be done as asked; no output was written."""
    PARTLY = 3
    """Done; some rows have no result, see `OUT.errors.jsonl`."""
    TOO_MANY_ERRORS = 4
    """Stopped by `--max-errors`; finished rows are kept for a run with a larger one."""
    BROKEN = 70
    """A bug of textmill, an engine that failed whole, or damage that `textmill status` found."""
    UNPRINTED = 74
    """Standard output took not all that was to be printed; a job is done all the same."""
    AWAY = 75
    """The server that computes is away; finished rows are kept, the same line goes on."""
    INTERRUPTED = 130
    """Interrupted; finished rows are kept, the same line goes on."""


class ErrorCode(StrEnum):
    """Why one record has no result. The list is closed; readers may match on it."""

    BAD_JSON = "bad_json"
    """The line is not one strict JSON object in UTF-8."""
    BAD_RECORD = "bad_record"
    """The line is JSON, but a field has the wrong type or a value that cannot be used."""
    MISSING_FIELD = "missing_field"
    """A field that the prompt, the id or the format needs is not there."""
    BAD_PARAMETER = "bad_parameter"
    """A generation parameter of the record is unknown, out of range or cannot be honoured."""
    DUPLICATE_ID = "duplicate_id"
    """An earlier record has the same id."""
    TOO_LONG = "too_long"
    """The line is over the size limit, or the text is over the model's input limit."""
    EMPTY = "empty"
    """There is no text to work on."""
    OOM = "oom"
    """The engine ran out of memory on this record alone."""
    ENGINE_ERROR = "engine_error"
    """The engine failed on this record alone."""
    TIMEOUT = "timeout"
    """The engine did not finish this record in time."""
    CRASHED = "crashed"
    """The engine's process died on this record."""


def is_panic(error: BaseException) -> bool:
    """Whether a library written in Rust has panicked, which is no `Exception` and has no public
    type."""
    return type(error).__name__ == "PanicException"


class TextmillError(Exception):
    """Something went wrong in textmill."""

    exit_code: ClassVar[ExitCode] = ExitCode.BROKEN

    def __init__(self, message: str | None = None, *, hint: str | None = None) -> None:
        """`message` says what and where; `hint` says what to do about it."""
        self.message = message or (type(self).__doc__ or "").strip()
        self.hint = hint
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class UsageError(TextmillError):
    """What was asked cannot be done as asked."""

    exit_code = ExitCode.REFUSED


class ParameterError(UsageError):
    """A generation parameter is wrong.

    `name` is the parameter, `value` what was given, `rule` what is allowed.
    """

    def __init__(self, name: str, value: object, rule: str, *, hint: str | None = None) -> None:
        self.name, self.value, self.rule = name, value, rule
        super().__init__(f"{name}={written(value)}: {rule}", hint=hint)


class UnsupportedParameter(ParameterError):
    """The parameter is valid, but this engine or model cannot honour it."""


class PromptError(UsageError):
    """The prompt template is wrong."""


class InputError(UsageError):
    """An input cannot be read."""


class OutputError(UsageError):
    """An output cannot be written."""


class ModelError(UsageError):
    """The model cannot be used."""


class ModelNotFound(ModelError):
    """There is no such model."""


class UnsupportedModel(ModelError):
    """The model's architecture or tokenizer is not one that textmill runs."""


class CorruptModel(ModelError):
    """The model's files are damaged, missing or disagree with each other."""


class UnsafeModel(ModelError):
    """The model's files would have to be executed to be read, so they are refused."""


class ResumeRefused(UsageError):
    """An unfinished job with this output was started with something else."""


class EngineError(TextmillError):
    """The engine failed on a batch."""

    code: ErrorCode = ErrorCode.ENGINE_ERROR

    def __init__(
        self, message: str | None = None, *, code: ErrorCode = ErrorCode.ENGINE_ERROR
    ) -> None:
        self.code = code
        super().__init__(message)


class EngineUnavailable(EngineError):
    """What computes is away; finished rows are kept, and the same line goes on once it is back."""

    exit_code = ExitCode.AWAY  # sysexits' EX_TEMPFAIL: invites to try again later

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class TooManyErrors(TextmillError):
    """More records failed than --max-errors allows."""

    exit_code = ExitCode.TOO_MANY_ERRORS


class InvariantError(TextmillError):
    """textmill's own accounting does not add up. This is a bug."""


class Meaning(NamedTuple):
    """What an exception means for a record that is to blame, and for a command that it ends.

    code: the record's. message: what was wrong. hint: what to do. exit_code: the command's.
    """

    code: ErrorCode
    message: str
    hint: str | None = None
    exit_code: ExitCode = ExitCode.BROKEN


_OUT_OF_MEMORY = ("alloc", "out of memory")
"""What native libraries say: bad_alloc, mkl_malloc, "cannot allocate memory"."""


def meaning_of(error: BaseException) -> Meaning:
    """The one place that decides it, for any exception."""
    match error:
        case TextmillError():
            code = error.code if isinstance(error, EngineError) else ErrorCode.ENGINE_ERROR
            return Meaning(code, error.message, error.hint, error.exit_code)
        case MemoryError():
            return Meaning(ErrorCode.OOM, "out of memory")
        case RuntimeError() if any(words in str(error) for words in _OUT_OF_MEMORY):
            return Meaning(ErrorCode.OOM, "out of memory")
        case OSError():
            words = error.strerror or str(error) or type(error).__name__
            said = words if error.filename is None else f"{error.filename}: {words}"
            return Meaning(ErrorCode.ENGINE_ERROR, said, exit_code=ExitCode.REFUSED)
    return Meaning(ErrorCode.ENGINE_ERROR, f"{type(error).__name__}: {error}")


def engine_error(error: BaseException) -> EngineError:
    """An engine's exception, of whatever kind, as the error of its batch or record."""
    if isinstance(error, EngineError):
        return error
    code, message, *_ = meaning_of(error)
    is_known = code is not ErrorCode.ENGINE_ERROR
    found = EngineError(message if is_known else f"the engine failed: {message}", code=code)
    found.__cause__ = error
    return found
