"""`textmill.load(model).generate(texts)`: the same loop and engine as a job, in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from textmill.batching.loop import Loop
from textmill.batching.scheduler import Scheduler
from textmill.catalog.fetch import Transfer
from textmill.core import Batch, Failure, Outcome, Record, Rejected, Request
from textmill.engines.base import Tokenizer
from textmill.engines.isolated import DEFAULT_TIMEOUT_S
from textmill.errors import EngineError, UsageError
from textmill.settings import find_api_key, read_settings
from textmill.transform.setup import Setup, SetupRequest
from textmill.words import written


class Generator:
    """A loaded model. Not thread-safe; a context manager that gives the memory back."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the model's memory and threads back."""
        self._setup.close()

    def generate(self, texts: str | Sequence[str], **params: Any) -> list[str] | list[list[str]]:
        """One generated text for each text, in order; a list of them if num_return_sequences > 1.

        **params: generation parameters, as in `max_new_tokens=50` (docs/reference/parameters.md).
        Raises `ParameterError` for a wrong one, `UsageError` for a text that cannot be used, and
        `EngineError` if the engine fails on a text, naming its position.
        """
        several = [texts] if isinstance(texts, str) else list(texts)
        outcomes = run_in_memory(self._setup, self._requests(several, params))
        outcomes.sort(key=lambda outcome: outcome.request.ordinal)
        answers = [_texts(self._setup, outcome) for outcome in outcomes]
        if all(len(answer) == 1 for answer in answers):
            return [answer[0] for answer in answers]
        return answers

    def _requests(self, texts: list[str], params: dict[str, Any]) -> list[Request]:
        for position, text in enumerate(texts):
            if not isinstance(text, str) or not text.strip():
                raise UsageError(
                    f"text {position} is {written(text)}: a text that is not empty is needed"
                )
            if not _is_unicode(text):
                raise UsageError(
                    f"text {position} holds half a surrogate pair, which is no character"
                )
        rows: list[Record | Rejected] = [
            Record(ordinal=position, id=b"0", texts=(text,), params=params or None)
            for position, text in enumerate(texts)
        ]
        if not rows:
            return []
        window = self._setup.preparer.prepare(0, rows)
        for rejected in window.rejected:
            raise UsageError(f"text {rejected.ordinal}: {rejected.message}")
        return window.requests


def load(
    model: str | Path,
    *,
    engine: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    seed: int | None = None,
    truncate: bool = False,
    max_input_tokens: int | None = None,
    max_batch_tokens: int | None = None,
    concurrency: int | None = None,
    timeout: float | None = DEFAULT_TIMEOUT_S,
    api_key: str | None = None,
    api_key_file: str | Path | None = None,
    api_key_over_http: bool = False,
    offline: bool = False,
    home: Path | None = None,
    on_transfer: Callable[[Transfer], None] | None = None,
) -> Generator:
    """Load a model: a catalog id, a Hugging Face repository, a local folder, or a server.

    The arguments are the flags of `textmill run`. Raises `ModelError` and its kin.
    """
    request = SetupRequest(
        model=model,
        engine=engine,
        precision=precision,
        threads=threads,
        seed=seed,
        truncate=truncate,
        max_input_tokens=max_input_tokens,
        max_batch_tokens=max_batch_tokens,
        concurrency=concurrency,
        timeout=timeout,
        api_key=find_api_key(api_key),
        api_key_file=api_key_file,
        api_key_over_http=api_key_over_http,
        offline=offline or read_settings().offline,
        home=home or read_settings().home,
        on_transfer=on_transfer,
    )
    return Generator(Setup(request))


def run_in_memory(setup: Setup, requests: list[Request]) -> list[Outcome]:
    """Compute requests as one window. Their outcomes come in order of completion."""
    engine, sink = setup.model.engine, _Collector()
    scheduler = Scheduler(setup.limits, engine.group, padded=engine.capabilities.padded)
    Loop(_OneWindow(requests), scheduler, engine, sink).run()
    return sink.outcomes


def _texts(setup: Setup, outcome: Outcome) -> list[str]:
    if isinstance(outcome, Failure):
        raise EngineError(f"text {outcome.request.ordinal}: {outcome.message}", code=outcome.code)
    tokenizer: Tokenizer = setup.model.tokenizer
    return tokenizer.decode([sequence.ids for sequence in outcome.sequences])


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class _OneWindow:
    """A source of one window."""

    def __init__(self, requests: list[Request]) -> None:
        self._requests: list[Request] | None = requests or None

    def take(self, *, wait: bool) -> Sequence[Request] | None:  # noqa: ARG002 - always ready
        requests, self._requests = self._requests, None
        return requests

    def wanted(self, batch: Batch) -> Batch:
        return batch


class _Collector:
    """A sink that keeps outcomes."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def give(self, outcomes: Sequence[Outcome]) -> None:
        self.outcomes.extend(outcomes)
