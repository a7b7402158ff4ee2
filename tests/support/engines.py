"""Engines of each kind on one small model, for what all engines do alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from support import ct2, openvino
from support.driving import random_inputs
from support.tiny_models import session_folder, tiny_model
from textmill.core import Params, Request
from textmill.engines.base import Engine
from textmill.engines.ct2.cache import cached_model
from textmill.engines.echo import EchoEngine
from textmill.engines.isolated import IsolatedEngine
from textmill.engines.openvino.compiled import entry_for
from textmill.engines.wire import Order

FOLDER = tiny_model("flan-t5")
INPUTS = random_inputs(14, seed=2, end=1)
NO_SUCH_ID = 5000


def isolated_ct2() -> IsolatedEngine:
    rules = ct2.rules_of(FOLDER, workers=2)
    arguments = {
        "model": str(
            cached_model(ct2.checkpoint_of(FOLDER), "float32", session_folder() / "cache")
        ),
        "rules": msgspec.to_builtins(rules),
        "tokenizer": str(FOLDER),
        "seed": 0,
    }
    order = Order("textmill.engines.ct2.engine:load", arguments)
    return IsolatedEngine(order, rules, parallel=2)


def isolated_openvino() -> IsolatedEngine:
    rules = openvino.rules_of(FOLDER, threads=2)
    digest = ct2.checkpoint_of(FOLDER).weights_digest
    arguments = {
        "entry": str(entry_for(digest, rules.arithmetic, session_folder() / "cache")),
        "folder": str(FOLDER),
        "rules": msgspec.to_builtins(rules),
        "limits": msgspec.to_builtins(openvino.LIMITS),
        "seed": 0,
    }
    order = Order("textmill.engines.openvino.engine:load", arguments)
    return IsolatedEngine(order, rules, parallel=rules.capabilities.parallel)


KINDS: dict[str, Callable[[], Engine]] = {
    "echo": EchoEngine,
    "ct2": lambda: ct2.make_engine(FOLDER),
    "openvino": lambda: openvino.make_engine(FOLDER, threads=2),
    "ct2 in a process": isolated_ct2,
    "openvino in a process": isolated_openvino,
}


def params(**settings: Any) -> Params:
    """Parameters with the model's start and end."""
    return ct2.params_for(FOLDER, **({"max_new_tokens": 10} | settings))


def requests(*known: Params) -> list[Request]:
    """The inputs, which have these parameters in turn."""
    return [Request(n, 0, ids, known[n % len(known)]) for n, ids in enumerate(INPUTS)]
