"""Which files of a hub repository textmill needs. Pure: names in, names out.

Configuration, tokenizer and one set of weights; never code, never another framework's weights,
never a second copy of the weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from textmill.errors import UnsafeModel, UnsupportedModel

CONFIG = "config.json"

SUPPORT = re.compile(
    r"""(generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens)\.json
      | (vocab|target_vocab)\.json | vocab\.txt | merges\.txt
      | [\w-][\w.-]*\.(spm|model)""",
    re.VERBOSE | re.ASCII,
)
"""Files that are fetched when there are any; those of sentencepiece have many names."""

WEIGHTS = (
    ("model.safetensors", None),
    ("model.safetensors.index.json", re.compile(r"model-\d{5}-of-\d{5}\.safetensors")),
    ("pytorch_model.bin", None),
    ("pytorch_model.bin.index.json", re.compile(r"pytorch_model-\d{5}-of-\d{5}\.bin")),
)
"""Sets of weights, best first: the file that tells the set, and the shards it then needs."""


def choose_files(repository: str, names: Iterable[str]) -> tuple[str, ...]:
    """The files to fetch of a repository that holds `names`, the small ones first.

    Raises `UnsupportedModel` when it is no model folder or holds no weights textmill reads, and
    `UnsafeModel` when its weights can only be read by executing them.
    """
    present = frozenset(names)
    if CONFIG not in present:
        raise UnsupportedModel(
            f"{repository} has no {CONFIG}, so it is not a transformers model",
            hint="textmill runs encoder-decoder models (T5, BART, Pegasus, Marian, M2M100, …).",
        )
    support = sorted(name for name in present if SUPPORT.fullmatch(name))
    return (CONFIG, *support, *_weights(repository, present))


def _weights(repository: str, present: frozenset[str]) -> tuple[str, ...]:
    for teller, shards in WEIGHTS:
        if teller in present:
            named = [name for name in present if shards and shards.fullmatch(name)]
            return (teller, *sorted(named))
    scripted = sorted(name for name in present if name.endswith((".pt", ".pth", ".pkl")))
    if scripted:
        raise UnsafeModel(
            f"the weights of {repository} ({scripted[0]}) are programs, not data",
            hint="Convert them to safetensors where you trust them: save_pretrained(FOLDER).",
        )
    others = sorted(name for name in present if name.endswith((".h5", ".msgpack", ".onnx")))
    found = f"only {', '.join(others)}" if others else "no weights at all"
    raise UnsupportedModel(
        f"{repository} has neither model.safetensors nor pytorch_model.bin: {found}",
        hint="Convert it with transformers: from_pretrained(…).save_pretrained(FOLDER).",
    )
