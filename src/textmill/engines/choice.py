"""Which engine `auto` means: the fastest that was measured on this machine and whose texts agree.

`textmill bench MODEL --engine all` measures and keeps the figures; `auto` looks them up. Figures of
another model, processor, number of threads or version of a library are none.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from textmill.engines.converted import entry_name
from textmill.telemetry import versions_of

AGREES = 0.75
"""How much like float32's texts have to be, as `Measured.likeness` counts it: int8 is above it,
weights of five bits are below (docs/decisions/auto-engine.md)."""


class Measured(Struct, frozen=True, kw_only=True):
    """What an engine did in one precision.

    records_per_second, tokens_per_second: tokens read and written, as in a manifest.
    same: share of texts that are float32's to the last token.
    likeness: 1 where all are; else the mean share of tokens that a text has in common with
        float32's, in the same order. A record that fails counts as 0.
    """

    engine: str
    precision: str
    records_per_second: float
    tokens_per_second: float
    same: float
    likeness: float

    @property
    def agrees(self) -> bool:
        """Whether its texts may be taken for float32's."""
        return self.likeness >= AGREES


def fastest(measured: Sequence[Measured], precision: str = "auto") -> Measured | None:
    """The fastest whose texts agree, of a precision if one is asked for; None if there is none."""
    able = [m for m in measured if m.agrees and precision in ("auto", m.precision)]
    return max(able, key=lambda m: m.records_per_second, default=None)


def remember(
    cache_dir: Path, weights_digest: str, threads: int, measured: Sequence[Measured]
) -> None:
    """Keep figures, in place of earlier ones. Raises `OSError`."""
    path = _path(cache_dir, weights_digest, threads)
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_suffix(".new")
    written.write_bytes(msgspec.json.encode(list(measured)))
    written.replace(path)


def remembered(cache_dir: Path, weights_digest: str, threads: int) -> list[Measured]:
    """The figures that were kept; none where there are none, or none that can be read."""
    try:
        kept = _path(cache_dir, weights_digest, threads).read_bytes()
        return msgspec.json.decode(kept, type=list[Measured])
    except (OSError, msgspec.MsgspecError):
        return []


def _path(cache_dir: Path, weights_digest: str, threads: int) -> Path:
    libraries = versions_of("ctranslate2", "openvino")
    name = entry_name(weights_digest, str(threads), _processor(), *libraries.values())
    return cache_dir / "measured" / f"{name}.json"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith("model name")), platform.processor())
