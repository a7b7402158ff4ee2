"""Engines compared on texts, and what `auto` makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import textmill
from support.ct2 import DEMO
from textmill.engines.choice import Measured, remember, remembered
from textmill.engines.loading import contenders, load_model, threads_for
from textmill.errors import ModelNotFound, UsageError

pytest.importorskip("openvino")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of converted models for all tests."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "texts.jsonl"
    lines = (DEMO / "data" / "packages.jsonl").read_text("utf-8").splitlines()[:40]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_all_engines_compute_the_same_texts_and_auto_takes_the_fastest(home, data) -> None:
    visits: list[tuple[str, str]] = []
    found = textmill.compare(
        "demo",
        data=data,
        prompt="Briefly summarize this text: {document}",
        parameters={"max_new_tokens": 8},
        duration=0.2,
        home=home,
        on_visit=lambda engine, precision, _: visits.append((engine, precision)),
    )
    assert visits == [*contenders(), *reversed(contenders())]
    by_name = {(one.engine, one.precision): one for one in found.measured}
    assert set(by_name) == set(contenders())
    assert found.refused == ()
    assert 16 <= found.texts <= 40
    for engine in ("ct2", "openvino"):
        assert by_name[engine, "float32"].same == 1.0
        assert by_name[engine, "float32"].likeness == 1.0
        assert by_name[engine, "int8"].likeness > 0.6
    speeds = [one.records_per_second for one in found.measured]
    assert speeds == sorted(speeds, reverse=True)
    assert min(speeds) > 0
    assert found.best is not None
    with textmill.load("demo", home=home) as generator:
        assert generator.generate("Briefly summarize this text: An editor.")
    model = load_model(DEMO / "model", cache_dir=home / "engines")
    assert model.engine.capabilities.name == found.best.engine
    assert model.engine.capabilities.precision == found.best.precision
    model.close()


def test_parameters_that_an_engine_cannot_honour_leave_it_out(home, data) -> None:
    found = textmill.compare(
        "demo",
        data=data,
        prompt="{document}",
        parameters={"max_new_tokens": 4, "num_beams": 2, "stop": ["zz"]},
        duration=0.2,
        home=home,
    )
    assert {one.engine for one in found.measured} == {"openvino"}
    assert {one.engine for one in found.refused} == {"ct2"}
    assert all("stop" in one.message for one in found.refused)


def test_one_engine_alone_leaves_auto_as_it_was(home, data) -> None:
    kept = {p: p.read_bytes() for p in (home / "engines").glob("measured/*")}
    found = textmill.compare(
        "demo",
        engine="ct2",
        data=data,
        prompt="{document}",
        parameters={"max_new_tokens": 2},
        duration=0.2,
        home=home,
    )
    assert {one.engine for one in found.measured} == {"ct2"}
    assert not found.kept
    assert {p: p.read_bytes() for p in (home / "engines").glob("measured/*")} == kept


def test_figures_are_kept_for_a_number_of_threads_and_damage_means_none(tmp_path) -> None:
    figures = [
        Measured(
            engine="openvino",
            precision="int8",
            records_per_second=2.0,
            tokens_per_second=3.0,
            same=1.0,
            likeness=1.0,
        )
    ]
    assert remembered(tmp_path, "digest", 2) == []
    remember(tmp_path, "digest", 2, figures)
    assert remembered(tmp_path, "digest", 2) == figures
    assert remembered(tmp_path, "digest", 1) == []
    assert remembered(tmp_path, "other", 2) == []
    (path,) = (tmp_path / "measured").iterdir()
    path.write_text(json.dumps([{"engine": "openvino"}]))
    assert remembered(tmp_path, "digest", 2) == []


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"engine": "echo"}, "all, or one of ct2, openvino"),
        ({"duration": 0.0}, "duration=0.0"),
        ({"parameters": {"do_sample": True}}, "do_sample"),
    ],
)
def test_what_cannot_be_compared_is_refused(home, asked, why) -> None:
    with pytest.raises(UsageError, match=why):
        textmill.compare("demo", **{"home": home} | asked)


def test_a_model_that_is_not_there_is_refused_once(home) -> None:
    with pytest.raises(ModelNotFound):
        textmill.compare("./no-such-model", home=home)


def test_threads_are_those_asked_for() -> None:
    assert threads_for(3) == 3
    assert threads_for(None) >= 1
