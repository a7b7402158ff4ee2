"""One call of a client while it is worked on: its texts, what became of them, how long it took."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

from msgspec import Struct

from textmill.core import Request
from textmill.serving.answers import Answer, Generated
from textmill.serving.backlog import Waiting


class Timings(Struct, frozen=True):
    """One call in seconds and tokens; it goes to the header, the log and the metrics.

    wait: until its first batch began. execute: from then until its last answer.
    total: from its arrival to its last answer.
    batch_rows: requests in the largest batch that it was part of.
    """

    wait: float
    execute: float
    total: float
    texts: int
    input_tokens: int
    output_tokens: int
    batch_rows: int


class Call:
    """A client's texts. Only the ends of the loop change it, under their lock.

    done: gets the answers, in the order of the requests; or what the endpoint broke of.
    deadline: when the client has gone, by the endpoint's clock; None if it waits for ever.
    predicted: seconds that its first answer was expected to take when it was let in.
    """

    def __init__(
        self, requests: Sequence[Request], *, arrived: float, deadline: float | None = None
    ) -> None:
        self.requests = tuple(requests)
        self.arrived, self.deadline = arrived, deadline
        self.done: Future[list[Answer]] = Future()
        self.done.set_running_or_notify_cancel()  # whoever waits may stop, but not cancel it
        self.waiting: list[Waiting] = []
        self.cancelled = False
        self.predicted = 0.0
        self.batch_rows = 0
        self.started: float | None = None
        self.finished: float | None = None
        self._answers: dict[int, Answer] = {}

    def is_wanted(self, now: float) -> bool:
        """Whether somebody still waits for it."""
        return not self.cancelled and (self.deadline is None or now < self.deadline)

    def begin(self, now: float, batch_rows: int) -> None:
        """One of its requests is in a batch that is computed from now on."""
        self.batch_rows = max(self.batch_rows, batch_rows)
        if self.started is None:
            self.started = now

    def settle(self, position: int, answer: Answer, now: float) -> bool:
        """One of its requests is answered. Returns whether it was the last."""
        self._answers[position] = answer
        self.finished = now
        return len(self._answers) == len(self.requests)

    def answers(self) -> list[Answer]:
        """All of them, in order, once the last is there."""
        return [self._answers[position] for position in range(len(self.requests))]

    def timings(self) -> Timings:
        """Of a call that is answered."""
        generated = [a for a in self._answers.values() if isinstance(a, Generated)]
        finished = self.arrived if self.finished is None else self.finished
        started = finished if self.started is None else self.started
        return Timings(
            wait=started - self.arrived,
            execute=finished - started,
            total=finished - self.arrived,
            texts=len(self.requests),
            input_tokens=sum(answer.input_tokens for answer in generated),
            output_tokens=sum(answer.output_tokens for answer in generated),
            batch_rows=self.batch_rows,
        )
