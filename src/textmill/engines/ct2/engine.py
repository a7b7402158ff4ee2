"""The CTranslate2 engine in this process: whole batches on a pool of one-thread workers."""

from __future__ import annotations

import functools
import hashlib
import threading
import time
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from textmill.core import Batch, Completion, Failure, FinishReason, Outcome, Params, Request
from textmill.core import Sequence as Generated
from textmill.engines.allocator import keep_freed_memory
from textmill.engines.base import BatchError, Capabilities, Tokenizer
from textmill.engines.ct2.options import (
    max_length,
    options,
    prefix,
    scores_are_exact,
    start_token_matters,
)
from textmill.engines.ct2.rules import Ct2Rules
from textmill.engines.stopping import Decode, cut_at_stop
from textmill.errors import EngineError, ErrorCode, engine_error

_POLL_SECONDS, _LONGEST_POLL_SECONDS = 0.0005, 0.005
"""CTranslate2's futures can only be asked or waited for, and a wait hears no Ctrl-C."""

_busy: list[Any] = []
_seeding = threading.Lock()
"""CTranslate2 has one seed for the process, read when a worker first draws a number."""


class _Job:
    """A batch on its way.

    deferred: it is only handed to CTranslate2 when a worker is free for it.
    results: CTranslate2's futures, one for each request; empty until it is started.
    """

    def __init__(self, batch: Batch) -> None:
        if not batch.requests:
            raise EngineError("the batch is empty")
        self.batch = batch
        self.params = batch.requests[0].params
        self.deferred = self.params.do_sample or self.params.max_time is not None
        self.translator: Any = None
        self.results: list[Any] = []

    def is_done(self) -> bool:
        return bool(self.results) and all(result.done() for result in self.results)


class Ct2Engine:
    """Implements `engines.base.Engine`. See `docs/decisions/ct2-engine.md`."""

    def __init__(
        self,
        model: Path,
        rules: Ct2Rules,
        *,
        decode: Decode,
        seed: int = 0,
    ) -> None:
        """Load a converted model.

        model: folder of `cached_model`, in the precision of the rules.
        decode: token ids to texts, for stop strings.
        seed: of sampling, for batches whose parameters have none.
        """
        self._model, self._rules = model, rules
        self._decode = decode
        self._seed = seed
        keep_freed_memory()
        self._names = [str(n) for n in range(rules.vocab_size)]
        self._translator = self._load(rules.workers)
        self._jobs: deque[_Job] = deque()
        self._interrupted = threading.Event()
        self._closed = False

    @property
    def capabilities(self) -> Capabilities:
        """Those of the rules."""
        return self._rules.capabilities

    def check(self, params: Params) -> None:
        """As the rules do."""
        self._rules.check(params)

    def group(self, params: Params) -> Hashable:
        """As the rules do."""
        return self._rules.group(params)

    def room(self) -> int:
        """Two batches for each worker: one that is computed and one that waits."""
        return max(0, 2 * self._rules.workers - len(self._jobs))

    def add(self, batch: Batch) -> None:
        """Start a batch. Raises `BatchError` when it is empty or the engine is closed."""
        with _errors_of(batch):
            job = _Job(batch)
            if not job.deferred:
                self._start(job)
        self._jobs.append(job)

    def step(self) -> Sequence[Outcome]:
        """The outcomes of one batch, the one that is done first; none if it is interrupted."""
        pause = _POLL_SECONDS
        while self._jobs:
            self._start_deferred()
            done = next((job for job in self._jobs if job.is_done()), None)
            if done is not None:
                return self._finish(done)
            if self._interrupted.wait(pause):
                break
            pause = min(pause * 1.5, _LONGEST_POLL_SECONDS)
        self._interrupted.clear()
        return ()

    def interrupt(self) -> None:
        """Let `step` return, so that it can be given more."""
        self._interrupted.set()

    def abandon(self) -> None:
        """Forget the batches in flight.

        CTranslate2 computes them to their end, and a translator waits for that when it goes; one
        that is busy is kept, so that Ctrl-C is not held up.
        """
        if any(not job.is_done() for job in self._jobs):
            _busy.append(self._translator)
        self._jobs.clear()

    def close(self) -> None:
        """Give the model's memory back."""
        self._closed = True
        self.abandon()
        self._translator = None

    def _load(self, workers: int) -> Any:
        import ctranslate2

        return ctranslate2.Translator(
            str(self._model),
            device="cpu",
            compute_type=self._rules.precision,
            inter_threads=workers,
            intra_threads=1,
            max_queued_batches=-1,
        )

    def _start_deferred(self) -> None:
        """Start jobs that have waited, the first come first, while workers are free."""
        busy = sum(1 for job in self._jobs if job.results and not job.is_done())
        waiting = [job for job in self._jobs if not job.results]
        for job in waiting[: max(0, self._rules.workers - busy)]:
            self._jobs.remove(job)
            with _errors_of(job.batch):
                self._start(job)
            self._jobs.append(job)

    def _start(self, job: _Job) -> None:
        if self._closed:
            raise EngineError("the engine is closed")
        arguments = options(job.params, self._rules)
        if job.params.max_time is not None:
            deadline = time.monotonic() + job.params.max_time
            arguments["callback"] = lambda _: time.monotonic() > deadline
        job.translator = self._seeded(job) if job.params.do_sample else self._translator
        job.results = job.translator.translate_batch(
            [self._tokens(request.ids) for request in job.batch.requests],
            target_prefix=[_strings(prefix(request.params)) for request in job.batch.requests],
            asynchronous=True,
            **arguments,
        )

    def _tokens(self, ids: list[int]) -> list[str]:
        if not ids or min(ids) < 0 or max(ids) >= len(self._names):
            raise EngineError(f"token ids have to be 0 to {len(self._names) - 1}, and some")
        names = self._names
        return [names[n] for n in ids]

    def _seeded(self, job: _Job) -> Any:
        """A worker of its own, whose random numbers depend on seed and batch alone.

        CTranslate2 seeds a worker when it first draws a number, so one is drawn here.
        """
        import ctranslate2

        with _seeding:
            ctranslate2.set_random_seed(_batch_seed(job.batch, job.params, self._seed))
            translator = self._load(1)
            translator.translate_batch(
                [self._names[:1]],
                target_prefix=[[str(job.params.decoder_start_token_id)]],
                beam_size=1,
                sampling_topk=0,
                max_decoding_length=1,
            )
        return translator

    def _finish(self, job: _Job) -> list[Outcome]:
        self._jobs.remove(job)
        with _errors_of(job.batch):
            return [
                self._outcome(request, future.result())
                for request, future in zip(job.batch.requests, job.results, strict=True)
            ]

    def _outcome(self, request: Request, result: Any) -> Outcome:
        params = request.params
        scores = result.scores or [None] * len(result.hypotheses)
        sequences = [
            self._sequence([int(token) for token in tokens], score, params)
            for tokens, score in zip(result.hypotheses, scores, strict=True)
        ]
        if params.num_beams > 1:
            sequences.sort(key=lambda sequence: sequence.score or 0.0, reverse=True)
            del sequences[params.num_return_sequences :]
        if not scores_are_exact(params):
            sequences = [replace(sequence, score=None) for sequence in sequences]
        if start_token_matters(params) and any(
            params.decoder_start_token_id in sequence.ids for sequence in sequences
        ):
            return Failure(request, ErrorCode.ENGINE_ERROR, _STARTED_AGAIN)
        return Completion(request, tuple(sequences))

    def _sequence(self, tokens: list[int], score: float | None, params: Params) -> Generated:
        """What was generated, as transformers would give it."""
        ended = tokens[-1] in params.eos_token_ids
        finish = FinishReason.EOS if ended else FinishReason.LENGTH
        if not ended and len(tokens) < max_length(params):
            finish = FinishReason.TIME
        if not ended and params.forced_eos_token_id is not None:
            tokens = tokens[: params.max_new_tokens - 1]
            if score is not None:
                # transformers adds the end, which is certain and makes the text one token longer
                score *= (len(tokens) / (len(tokens) + 1)) ** params.length_penalty
        ids = tokens[len(prefix(params)) - 1 : len(tokens) - ended]
        if params.stop and (cut := cut_at_stop(ids, params.stop, self._decode)) is not None:
            ids, finish = cut, FinishReason.STOP
        return Generated(ids, finish, score)


_STARTED_AGAIN = (
    "the model generated its start token, which repetition_penalty and no_repeat_ngram_size "
    "treat differently in CTranslate2 than in transformers"
)


@contextmanager
def _errors_of(batch: Batch) -> Iterator[None]:
    """Any error inside is the batch's."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  not swallowed: raised again as its cause
        raise BatchError(batch) from engine_error(error)


def _strings(ids: list[int]) -> list[str]:
    return [str(n) for n in ids]


def _batch_seed(batch: Batch, params: Params, job_seed: int) -> int:
    """Seed of a batch's random numbers.

    With a seed of their own, requests get the same texts whenever the same requests make up a
    batch, wherever that is. Without one, the job's seed and the batch's number decide.
    """
    if params.seed is None:
        key = f"job {job_seed} {batch.number}"
    else:
        key = f"own {params.seed} {[request.ids for request in batch.requests]}"
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:4], "big") % (2**32 - 1)


def load(*, model: str, rules: dict[str, Any], tokenizer: str, seed: int) -> Ct2Engine:
    """The engine of plain data, as a worker process is ordered to make it.

    tokenizer: the model's folder, which is read when the first stop string has to be found.
    """

    @functools.cache
    def opened() -> Tokenizer:
        from textmill.engines.tokenizing import open_tokenizer

        return open_tokenizer(Path(tokenizer))

    def decode(sequences: Sequence[Sequence[int]]) -> list[str]:
        return opened().decode(sequences)

    return Ct2Engine(Path(model), msgspec.convert(rules, Ct2Rules), decode=decode, seed=seed)
