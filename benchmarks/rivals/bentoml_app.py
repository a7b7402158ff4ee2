"""BentoML around the same engine, with its adaptive batching.

BENTO_ROWS: most rows of a batch. BENTO_TARGET_MS: its latency goal. BENTO_WORKERS: processes.
"""

from __future__ import annotations

import os

import bentoml

ROWS, TARGET_MS, WORKERS = (
    int(os.environ[name]) for name in ("BENTO_ROWS", "BENTO_TARGET_MS", "BENTO_WORKERS")
)


@bentoml.service(workers=WORKERS, traffic={"timeout": 60})
class Summaries:
    def __init__(self) -> None:
        import textmill

        self.model = textmill.load("demo", threads=2 if WORKERS == 1 else 1)

    @bentoml.api(
        batchable=True, max_batch_size=ROWS, max_latency_ms=TARGET_MS, route="/invocations"
    )
    def generate(self, text_inputs: list[str]) -> list[str]:
        return self.model.generate(text_inputs, max_new_tokens=24)
