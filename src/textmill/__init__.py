"""Text-to-text models over large data sets and behind an endpoint, on your own machines.

The verbs, with the same names and defaults as the command line:

    job = textmill.run("articles.jsonl", "predict.jsonl", model="google/flan-t5-large",
                       prompt="Briefly summarize this text: {article}", max_new_tokens=50)
    (now,) = textmill.status("predict.jsonl")
    scores = textmill.score("predict.jsonl", "highlights.jsonl")
    texts = textmill.load("google/flan-t5-large").generate(["Translate to German: Hello"])
    with textmill.serve("google/flan-t5-large", slo="800ms", port=8080) as endpoint: ...
"""

from __future__ import annotations

TYPE_CHECKING = False  # the command line is to take over Ctrl-C before anything else is imported
if TYPE_CHECKING:
    from typing import Any

    from textmill.api.benching import Bench, bench
    from textmill.api.comparing import Comparison, compare
    from textmill.api.generation import Generator, load
    from textmill.api.jobs import Job, run
    from textmill.api.previews import Preview, preview
    from textmill.api.scoring import score
    from textmill.api.serving import Endpoint, serve
    from textmill.api.status import status
    from textmill.errors import ErrorCode, TextmillError, UsageError
    from textmill.evaluation.results import Score, Scores
    from textmill.transform.status import JobStatus

__version__ = "0.1.0.dev0"

__all__ = [
    "Bench",
    "Comparison",
    "Endpoint",
    "ErrorCode",
    "Generator",
    "Job",
    "JobStatus",
    "Preview",
    "Score",
    "Scores",
    "TextmillError",
    "UsageError",
    "bench",
    "compare",
    "load",
    "preview",
    "run",
    "score",
    "serve",
    "status",
]

_HOMES = {
    "Bench": "textmill.api.benching",
    "Comparison": "textmill.api.comparing",
    "Endpoint": "textmill.api.serving",
    "ErrorCode": "textmill.errors",
    "Generator": "textmill.api.generation",
    "Job": "textmill.api.jobs",
    "JobStatus": "textmill.transform.status",
    "Preview": "textmill.api.previews",
    "Score": "textmill.evaluation.results",
    "Scores": "textmill.evaluation.results",
    "TextmillError": "textmill.errors",
    "UsageError": "textmill.errors",
    "bench": "textmill.api.benching",
    "compare": "textmill.api.comparing",
    "load": "textmill.api.generation",
    "preview": "textmill.api.previews",
    "run": "textmill.api.jobs",
    "score": "textmill.api.scoring",
    "serve": "textmill.api.serving",
    "status": "textmill.api.status",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import textmill` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'textmill' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
