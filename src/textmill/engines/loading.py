"""From a model folder and an engine's name to something that runs.

An engine is known here by its name and a function that loads it; what it imports is imported
when it is asked for.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from textmill.engines.base import Engine, Tokenizer
from textmill.engines.checkpoint import Checkpoint, open_checkpoint
from textmill.engines.choice import fastest, remembered
from textmill.engines.inflight.limits import MemoryPlan
from textmill.engines.isolated import DEFAULT_TIMEOUT_S, IsolatedEngine
from textmill.engines.wire import Order
from textmill.errors import UsageError
from textmill.words import written

_NICENESS = 10
"""Of an engine that gives way: a tenth of the processor where others want all of it."""


class LoadedModel(Struct, frozen=True, kw_only=True):
    """A model that is ready to run.

    checkpoint: None for engines without a model on this machine.
    name, source: of such a model.
    memory: what decoding may take, where the engine plans it.
    """

    checkpoint: Checkpoint | None
    tokenizer: Tokenizer
    engine: Engine
    name: str = ""
    source: str = ""
    memory: MemoryPlan | None = None

    def close(self) -> None:
        """Give the engine's memory and threads back. Idempotent."""
        self.engine.close()


class _Order(Struct, frozen=True, kw_only=True):
    """What was asked of `load_model`. checkpoint: of the folder, when there is one."""

    folder: Path | None
    checkpoint: Checkpoint | None
    precision: str
    threads: int
    cache_dir: Path
    seed: int
    timeout_s: float | None
    gives_way: bool

    def to_worker(self, factory: str, arguments: dict[str, Any]) -> Order:
        """What the engine's process is told."""
        return Order(factory, arguments, _NICENESS if self.gives_way else 0)


def load_model(
    folder: Path | None,
    *,
    engine: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    cache_dir: Path,
    seed: int = 0,
    timeout_s: float | None = DEFAULT_TIMEOUT_S,
    gives_way: bool = False,
) -> LoadedModel:
    """Load a model folder into an engine.

    folder: may be None for the echo engine only.
    engine: a name of `ENGINES`; `openai` is opened by `engines.openai_api`. "auto" is what was
        measured to be the fastest (`engines.choice`), and ct2 where nothing was.
    precision: one the engine has; "auto" is its own choice, or the measured one's.
    threads: CPU threads to use; None means all that this process may.
    cache_dir: where engines keep converted models.
    seed: of sampling, for batches whose parameters have none.
    timeout_s: of the computing of one batch; one that takes longer fails. None means no limit.
    gives_way: the engine computes with what other processes leave of the processor.

    The engine computes in a process of its own, the echo engine excepted.

    Raises `UsageError` for a name that is not known, whatever `open_checkpoint` and
    `open_tokenizer` raise, and `ModelError` for an engine that cannot be loaded.
    """
    if engine not in ("auto", *_LOADERS):
        check_engine(engine)
        raise UsageError(f"the {engine} engine loads no model folder")
    checkpoint = None if folder is None or engine == "echo" else open_checkpoint(folder)
    threads = threads_for(threads)
    if engine == "auto":
        engine, precision = _auto(checkpoint, precision, threads, cache_dir)
    order = _Order(
        folder=folder,
        checkpoint=checkpoint,
        precision=precision,
        threads=threads,
        cache_dir=cache_dir,
        seed=seed,
        timeout_s=timeout_s,
        gives_way=gives_way,
    )
    return _LOADERS[engine](order)


def check_engine(name: str) -> None:
    """Raise `UsageError` for a name that is none of `ENGINES`."""
    if name in ENGINES:
        return
    close = difflib.get_close_matches(name, ENGINES, n=1) if isinstance(name, str) else []
    meant = f"did you mean {close[0]}? " if close else ""
    raise UsageError(
        f"there is no engine {written(name)}", hint=f"{meant}the engines are: {', '.join(ENGINES)}"
    )


def _load_ct2(order: _Order) -> LoadedModel:
    from textmill.engines.ct2.cache import cached_model
    from textmill.engines.ct2.rules import Ct2Rules
    from textmill.engines.ct2.spec import PRECISIONS

    precision = _precision(order, "ct2", PRECISIONS)
    checkpoint = _needed(order, "ct2")
    workers = order.threads
    rules = Ct2Rules.of(checkpoint.architecture, precision=precision, workers=workers)
    model = cached_model(checkpoint, precision, order.cache_dir)
    arguments = {
        "model": str(model),
        "rules": msgspec.to_builtins(rules),
        "tokenizer": str(checkpoint.folder),
        "seed": order.seed,
    }
    engine = IsolatedEngine(
        order.to_worker("textmill.engines.ct2.engine:load", arguments),
        rules,
        parallel=workers,
        timeout_s=order.timeout_s,
    )
    return _loaded(checkpoint, engine)


def _load_openvino(order: _Order) -> LoadedModel:
    from textmill.engines.openvino.compiled import entry_for
    from textmill.engines.openvino.memory import free_memory, plan_memory
    from textmill.engines.openvino.precision import arithmetic, has_bfloat16, precisions
    from textmill.engines.openvino.rules import OpenvinoRules

    half = has_bfloat16()
    precision = _precision(order, "openvino", precisions(bfloat16=half))
    checkpoint = _needed(order, "openvino")
    how = arithmetic(precision, bfloat16=half)
    rules = OpenvinoRules.of(
        checkpoint.architecture,
        precision=precision,
        half=how.half,
        threads=order.threads,
    )
    memory = plan_memory(checkpoint.architecture, how, lanes=rules.lanes, free_bytes=free_memory())
    arguments = {
        "entry": str(entry_for(checkpoint.weights_digest, how, order.cache_dir)),
        "folder": str(checkpoint.folder),
        "rules": msgspec.to_builtins(rules),
        "limits": msgspec.to_builtins(memory.limits),
        "seed": order.seed,
    }
    engine = IsolatedEngine(
        order.to_worker("textmill.engines.openvino.engine:load", arguments),
        rules,
        parallel=rules.capabilities.parallel,
        timeout_s=order.timeout_s,
    )
    return _loaded(checkpoint, engine, memory)


def _needed(order: _Order, engine: str) -> Checkpoint:
    if order.checkpoint is None:
        raise UsageError(f"the {engine} engine needs a model")
    return order.checkpoint


def _loaded(
    checkpoint: Checkpoint, engine: IsolatedEngine, memory: MemoryPlan | None = None
) -> LoadedModel:
    """The model, once the engine has loaded; the tokenizer is opened meanwhile."""
    from textmill.engines.tokenizing import open_tokenizer

    try:
        tokenizer: Tokenizer = open_tokenizer(checkpoint.folder)
        engine.wait_until_loaded()
    except BaseException:
        engine.close()
        raise
    return LoadedModel(checkpoint=checkpoint, tokenizer=tokenizer, engine=engine, memory=memory)


def threads_for(asked: int | None) -> int:
    """CPU threads to use: those asked for, or else all that this process may."""
    return asked or _available_cpus()


def contenders() -> list[tuple[str, str]]:
    """Engines that compute a model on this machine, with each of their precisions here."""
    from textmill.engines.ct2.spec import PRECISIONS
    from textmill.engines.openvino.precision import has_bfloat16, precisions

    here = {"ct2": PRECISIONS, "openvino": precisions(bfloat16=has_bfloat16())}
    return [(engine, precision) for engine, known in here.items() for precision in known]


def _auto(
    checkpoint: Checkpoint | None, precision: str, threads: int, cache_dir: Path
) -> tuple[str, str]:
    """Engine and precision that "auto" means."""
    digest = checkpoint.weights_digest if checkpoint else ""
    found = fastest(remembered(cache_dir, digest, threads), precision)
    if found is not None:
        return found.engine, found.precision
    return ("openvino" if precision == "bfloat16" else _UNMEASURED), precision


def _available_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _load_echo(order: _Order) -> LoadedModel:
    from textmill.engines.bytes_tokenizer import ByteTokenizer
    from textmill.engines.echo import EchoEngine

    _precision(order, "echo", ("none",))
    return LoadedModel(
        checkpoint=None,
        tokenizer=ByteTokenizer(),
        engine=EchoEngine(),
        name="echo",
        source="echo",
    )


def _precision(order: _Order, engine: str, known: tuple[str, ...]) -> str:
    """The precision to use; the first of those that the engine knows is its own choice."""
    if order.precision == "auto":
        return known[0]
    if order.precision not in known:
        raise UsageError(
            f"the {engine} engine has no precision {written(order.precision)}",
            hint=f"it has: {', '.join(('auto', *known))}",
        )
    return order.precision


_LOADERS: dict[str, Callable[[_Order], LoadedModel]] = {
    "ct2": _load_ct2,
    "openvino": _load_openvino,
    "echo": _load_echo,
}
_UNMEASURED = "ct2"

ENGINES = ("auto", *_LOADERS, "openai")
"""What `engine` may be."""
