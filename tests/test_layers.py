"""Imports point down. The table of docs/architecture.md, held as data."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src" / "textmill"

BASE = {"core", "errors", "telemetry", "words"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": {"words"},
    "html": set(),
    "words": set(),
    "core": {"errors"},
    "telemetry": {"core", "errors"},
    "settings": {"errors", "words"},
    "params": BASE,
    "storage": BASE,
    "records": BASE,
    "catalog": BASE | {"params", "storage", "records"},
    "engines": BASE | {"params", "storage", "records", "catalog"},
    "batching": BASE | {"engines.base"},
    "transform": BASE | {"params", "storage", "records", "catalog", "engines", "batching"},
    "serving": BASE | {"params", "storage", "records", "catalog", "engines", "batching"} | {"html"},
    "evaluation": BASE | {"records", "storage", "html"},
    "report": BASE | {"evaluation", "html"},
    "api": BASE
    | {"params", "storage", "records", "catalog", "engines", "batching"}
    | {"transform", "serving", "evaluation", "html", "report", "settings"},
    "gateway": BASE | {"api", "params", "records", "storage", "catalog", "transform", "serving"},
    "cli": BASE
    | {"api", "settings", "params", "catalog", "transform", "serving", "evaluation"}
    | {"report", "gateway"},
    "testing": BASE | {"engines", "storage", "batching", "records", "params"},
}

ONLY_IN: dict[str, set[str]] = {
    "ctranslate2": {"engines"},
    "openvino": {"engines"},
    "torch": set(),
    "transformers": set(),
    "ray": {"transform"},
    "pyarrow": {"records"},
    "obstore": {"storage"},
    "huggingface_hub": {"catalog"},
    "tokenizers": {"engines"},
    "httpx2": {"engines", "catalog"},
    "zstandard": {"storage"},
    "sacrebleu": {"evaluation"},
    "starlette": {"serving", "gateway"},
    "uvicorn": {"serving", "gateway"},
    "botocore": {"gateway"},
    "cyclopts": {"cli"},
    "html": {"html"},  # the standard library's: there is one escaper
    "pickle": set(),
    "tarfile": set(),
}


def modules() -> list[Path]:
    return sorted(SRC.rglob("*.py"))


def package_of(path: Path) -> str:
    parts = path.relative_to(SRC).with_suffix("").parts
    return parts[0]


def imports(path: Path) -> list[str]:
    """Absolute names imported anywhere in a module, at import time or later."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SRC)))
def test_imports_point_down(path: Path) -> None:
    package = package_of(path)
    if package in {"__init__", "__main__"}:
        return
    allowed = MAY_IMPORT[package]
    for name in imports(path):
        if not name.startswith("textmill."):
            continue
        target = name.removeprefix("textmill.")
        top = target.split(".")[0]
        if top in {package, "__version__"}:
            continue
        ok = top in allowed or any(target.startswith(a + ".") for a in allowed if "." in a)
        assert ok, f"{package} must not import {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SRC)))
def test_heavy_libraries_have_one_home(path: Path) -> None:
    package = package_of(path)
    for name in imports(path):
        top = name.split(".")[0]
        if top in ONLY_IN:
            assert package in ONLY_IN[top], f"{package} must not import {top}"
