"""Loading a model by the name of an engine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import textmill
from support import oracle
from support.ct2 import DEMO, params_for
from support.driving import drive, texts
from textmill.engines.isolated import IsolatedEngine
from textmill.engines.loading import ENGINES, load_model
from textmill.errors import ModelNotFound, UsageError


def test_texts_in_texts_out(tmp_path: Path) -> None:
    """Checkpoint, tokenizer and engine fit together."""
    model = load_model(DEMO / "model", precision="float32", threads=1, cache_dir=tmp_path)
    (ids,) = model.tokenizer.encode(["Briefly summarize this text: A library for images."])
    params = params_for(DEMO / "model", max_new_tokens=32)
    generated = texts(drive(model.engine, [ids], params))
    assert generated == [oracle.generate(DEMO / "model", ids, params)[0]]
    assert model.tokenizer.decode(generated[0])[0].strip()
    assert model.checkpoint is not None
    model.close()
    model.close()


def test_an_engine_that_gives_way_leaves_the_processor_to_others(tmp_path: Path) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    for gives_way in (False, True):
        model = load_model(DEMO / "model", cache_dir=tmp_path, threads=1, gives_way=gives_way)
        engine = model.engine
        assert isinstance(engine, IsolatedEngine)
        engine.wait_until_loaded()
        assert engine.pid is not None
        threads = [int(task.name) for task in Path(f"/proc/{engine.pid}/task").iterdir()]
        found = {os.getpriority(os.PRIO_PROCESS, thread) - own for thread in threads}
        model.close()
        assert found == {10 if gives_way else 0}, "of all its threads"


def test_auto_is_int8_on_ct2(tmp_path: Path) -> None:
    model = load_model(DEMO / "model", cache_dir=tmp_path, threads=1)
    assert model.engine.capabilities.name == "ct2"
    assert model.engine.capabilities.precision == "int8"
    model.close()


def test_unknown_engine_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nonsense") as error:
        load_model(DEMO / "model", engine="nonsense", cache_dir=tmp_path)
    assert all(name in str(error.value) for name in ENGINES)


def test_unknown_precision_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="float7") as error:
        load_model(DEMO / "model", precision="float7", cache_dir=tmp_path)
    assert "int8, float32" in str(error.value)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        load_model(tmp_path / "nothing", cache_dir=tmp_path)
    with pytest.raises(UsageError, match="needs a model"):
        load_model(None, cache_dir=tmp_path)


def test_importing_the_registry_imports_no_engine() -> None:
    """`--help` must not wait for CTranslate2."""
    code = "import sys, textmill.engines.loading; print('ctranslate2' in sys.modules)"
    path = str(Path(__file__).parents[2] / "src")
    run = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, check=True
    )
    assert run.stdout.decode().strip() == "False"


def test_a_misspelt_engine_is_named_before_anything_is_looked_for() -> None:
    with pytest.raises(UsageError, match='no engine "ecko"') as error:
        textmill.run("no-such-file.jsonl", "out.jsonl", engine="ecko")
    assert "did you mean echo?" in str(error.value)
    assert all(name in str(error.value) for name in ENGINES)
