"""The ct2 engine's promises: batches, time, seeds, errors, the cache of converted models."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from msgspec.structs import replace

from support import oracle
from support.command import environment
from support.ct2 import (
    DEMO,
    checkpoint_of,
    demo_inputs,
    make_engine,
    params_for,
    shared_engine,
)
from support.driving import drive, random_inputs, texts
from support.tiny_models import tiny_model
from textmill.core import Batch, Completion, Failure, FinishReason, Request
from textmill.engines.base import BatchError
from textmill.engines.checkpoint import open_checkpoint
from textmill.engines.ct2.cache import cached_model
from textmill.engines.ct2.spec import _quantize
from textmill.errors import EngineError, OutputError, UnsupportedModel

T5 = tiny_model("t5")
INPUTS = random_inputs(12, seed=1, end=1)


def test_finish_tells_the_end_from_the_limit() -> None:
    """A text that met max_new_tokens may be cut; one that the model ended is not."""
    folder = tiny_model("flan-t5")
    finishes = {}
    for outcome in drive(shared_engine(folder), INPUTS, params_for(folder)):
        assert isinstance(outcome, Completion)
        sequence = outcome.sequences[0]
        assert sequence.score is None
        finishes[sequence.finish] = len(sequence.ids)
    assert set(finishes) == {FinishReason.EOS, FinishReason.LENGTH}
    assert finishes[FinishReason.LENGTH] == 24


def test_forced_end_is_at_the_limit() -> None:
    """BART's forced end takes the place of the last token, and the text counts as cut."""
    params = params_for(T5, forced_eos_token_id=1, eos_token_ids=(1,), min_new_tokens=20)
    for outcome in drive(shared_engine(T5), INPUTS, params):
        assert isinstance(outcome, Completion)
        if outcome.sequences[0].finish is FinishReason.LENGTH:
            assert len(outcome.sequences[0].ids) == 23


def test_input_of_an_end_token_alone_is_computed() -> None:
    """CTranslate2 would skip it; transformers does not."""
    params = params_for(T5)
    assert texts(drive(shared_engine(T5), [[1]], params)) == [oracle.generate(T5, [1], params)[0]]


def test_requests_of_a_batch_may_stop_and_begin_differently() -> None:
    """Stop strings and forced beginnings are each request's own."""
    folder = tiny_model("flan-t5")
    engine = shared_engine(folder)
    plain = params_for(folder, forced_bos_token_id=7, min_new_tokens=8)
    other = replace(plain, forced_bos_token_id=8)
    generated = texts(drive(engine, INPUTS[:1], plain))[0][0]
    stopped = replace(plain, stop=(" ".join(map(str, generated[:4])),))
    requests = tuple(Request(n, 0, INPUTS[0], p) for n, p in enumerate((plain, other, stopped)))
    engine.add(Batch(0, requests))
    first, second, third = texts(engine.step())
    assert first == [generated]
    assert second == oracle.generate(folder, INPUTS[0], other)[0]
    assert third == [generated[:4]]


def test_time_limit_ends_texts_and_says_so() -> None:
    """With no time at all there is one token, as in transformers; with enough, all of them."""
    params = params_for(T5, min_new_tokens=24)
    unlimited = texts(drive(shared_engine(T5), INPUTS, params))
    assert texts(drive(shared_engine(T5), INPUTS, replace(params, max_time=60.0))) == unlimited
    for outcome in drive(shared_engine(T5), INPUTS, replace(params, max_time=1e-9)):
        assert isinstance(outcome, Completion)
        assert outcome.sequences[0].finish is FinishReason.TIME
        assert len(outcome.sequences[0].ids) == 1


def test_time_of_waiting_batches_does_not_count() -> None:
    """The clock of a batch starts with the batch, not when it is queued."""
    params = params_for(T5, min_new_tokens=24, max_time=0.5)
    engine = make_engine(T5)
    for number in range(2):
        engine.add(Batch(number, (Request(number, 0, INPUTS[5], params),)))
    time.sleep(0.6)
    for _ in range(2):
        (outcome,) = engine.step()
        assert isinstance(outcome, Completion)
        assert outcome.sequences[0].finish is FinishReason.LENGTH


def test_start_token_that_comes_again_fails_the_record() -> None:
    """Where CTranslate2 might differ from transformers the record fails instead."""
    start = texts(drive(shared_engine(T5), INPUTS[4:5], params_for(T5)))[0][0][0]
    params = params_for(T5, decoder_start_token_id=start, no_repeat_ngram_size=3)
    outcomes = drive(shared_engine(T5), INPUTS, params)
    failures = [o for o in outcomes if isinstance(o, Failure)]
    assert failures
    assert "start token" in failures[0].message
    for outcome in outcomes:
        if isinstance(outcome, Completion):
            theirs = oracle.generate(T5, outcome.request.ids, params)[0]
            assert [s.ids for s in outcome.sequences] == theirs


def test_sampling_repeats_with_seed_and_batch_number() -> None:
    """Same seed and plan: same texts, on one worker or two. Another seed: others."""
    params = params_for(T5, do_sample=True, top_k=0, temperature=1.5)
    one = texts(drive(make_engine(T5, seed=5), INPUTS, params, batch_size=4))
    again = texts(drive(make_engine(T5, seed=5, threads=2), INPUTS, params, batch_size=4))
    other = texts(drive(make_engine(T5, seed=6), INPUTS, params, batch_size=4))
    assert one == again
    assert one != other
    same_inputs = texts(drive(make_engine(T5), INPUTS[:4] * 2, params, batch_size=4))
    assert same_inputs[:4] != same_inputs[4:], "batches of a job draw different numbers"


def test_seed_of_a_request_does_not_depend_on_the_plan() -> None:
    """A request with a seed, alone in its batch, gives one text wherever the batch stands."""
    params = params_for(T5, do_sample=True, top_k=0, temperature=1.5, seed=11)
    engine = make_engine(T5)
    alone = texts(drive(engine, INPUTS[:1], params))
    assert texts(drive(engine, [*INPUTS, INPUTS[0]], params, batch_size=1))[-1:] == alone
    assert texts(drive(make_engine(T5, seed=9), INPUTS[:1], params)) == alone
    assert texts(drive(engine, INPUTS[:1], replace(params, seed=12))) != alone


@pytest.mark.parametrize(
    "settings", [{"top_k": 0}, {"top_k": 5}, {"top_k": 20, "top_p": 0.6}, {"temperature": 0.5}]
)
def test_samples_follow_the_distribution_of_transformers(settings: dict[str, float]) -> None:
    """2,000 first tokens against the probabilities that transformers' own warpers leave."""
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    params = params_for(T5, do_sample=True, num_return_sequences=2000, max_new_tokens=1, **settings)
    (samples,) = texts(drive(make_engine(T5), [INPUTS[4]], params))
    counts = Counter(ids[0] if ids else 1 for ids in samples)
    scores = torch.log(
        torch.tensor(
            [[float(np.exp(oracle.log_probs(T5, INPUTS[4], [n], 0)[0])) for n in range(320)]]
        )
    )
    scores = TemperatureLogitsWarper(params.temperature)(None, scores)
    if params.top_k:
        scores = TopKLogitsWarper(params.top_k)(None, scores)
    if params.top_p < 1:
        scores = TopPLogitsWarper(params.top_p)(None, scores)
    probabilities = torch.softmax(scores, dim=-1)[0].tolist()
    for token, probability in enumerate(probabilities):
        deviation = (2000 * probability * (1 - probability)) ** 0.5
        allowed = 5 * deviation + 3 if probability else 0
        assert abs(counts[token] - 2000 * probability) <= allowed, token


def test_room_is_two_batches_for_each_worker() -> None:
    engine = make_engine(T5, threads=2)
    batch = Batch(0, (Request(0, 0, INPUTS[0], params_for(T5)),))
    rooms = []
    for _ in range(4):
        rooms.append(engine.room())
        engine.add(batch)
    assert [*rooms, engine.room()] == [4, 3, 2, 1, 0]
    assert sum(len(engine.step()) for _ in range(4)) == 4
    assert engine.room() == 4
    assert engine.step() == ()


@pytest.mark.parametrize(
    "requests",
    [
        (),
        (Request(0, 0, [], params_for(T5)),),
        (Request(0, 0, [5, 320], params_for(T5)),),
        (Request(0, 0, [5, -1], params_for(T5)),),
    ],
)
def test_batch_that_cannot_be_computed_fails_and_others_go_on(requests: tuple) -> None:
    engine = make_engine(T5)
    good = Batch(0, (Request(9, 0, INPUTS[0], params_for(T5)),))
    engine.add(good)
    with pytest.raises(BatchError) as error:
        engine.add(Batch(1, requests))
    assert error.value.batch.number == 1
    assert isinstance(error.value.__cause__, EngineError)
    assert len(engine.step()) == 1


def test_input_over_the_positions_fails_its_batch() -> None:
    """Never cut: an input that is too long for the model is an error."""
    bart = tiny_model("bart")
    engine = make_engine(bart)
    engine.add(Batch(3, (Request(0, 0, [5] * 65, params_for(bart)),)))
    with pytest.raises(BatchError) as error:
        engine.step()
    assert error.value.batch.number == 3
    assert "position" in str(error.value.__cause__)
    assert engine.step() == ()


def test_input_of_2000_tokens_is_not_cut() -> None:
    """CTranslate2 cuts inputs at 1,024 tokens unless told not to."""
    (long,) = random_inputs(3, seed=4, end=1, longest=2000)[2:]
    params = params_for(T5, max_new_tokens=8)
    theirs = oracle.generate(T5, long, params)[0]
    assert theirs != oracle.generate(T5, long[:1024], params)[0]
    assert texts(drive(shared_engine(T5), [long], params)) == [theirs]


def test_closed_engine_takes_nothing() -> None:
    engine = make_engine(T5)
    engine.add(Batch(0, (Request(0, 0, INPUTS[0], params_for(T5)),)))
    engine.close()
    engine.close()
    assert engine.step() == ()
    with pytest.raises(BatchError):
        engine.add(Batch(1, (Request(0, 0, INPUTS[0], params_for(T5)),)))


def test_int8_texts_are_close_and_repeat() -> None:
    """On the demo model most greedy texts begin as in float32, and a second run is the same."""
    model = DEMO / "model"
    inputs, params = demo_inputs(24), params_for(DEMO / "model", max_new_tokens=32)
    engine = make_engine(model, precision="int8")
    ours = texts(drive(engine, inputs, params))
    exact = texts(drive(shared_engine(model), inputs, params))
    assert sum(a[0][:2] == b[0][:2] for a, b in zip(ours, exact, strict=True)) >= 18
    assert texts(drive(engine, inputs, params)) == ours
    assert not engine.capabilities.batch_invariant
    assert shared_engine(model).capabilities.batch_invariant


floats = st.floats(-(2.0**90), 2.0**90, width=32, allow_subnormal=False)


@given(arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 7)), elements=floats))
def test_quantized_rows_are_within_half_a_step(weight: np.ndarray) -> None:
    quantized, scale = _quantize(weight)
    restored = quantized.astype(np.float64) / scale.astype(np.float64)[:, None]
    step = np.abs(weight).max(axis=1, keepdims=True) / 127
    assert np.all(np.abs(restored - weight) <= 0.5001 * step + 1e-37)


def test_cache_is_used_again_and_rebuilt_when_damaged(tmp_path: Path) -> None:
    checkpoint = checkpoint_of(T5)
    entry = cached_model(checkpoint, "float32", tmp_path)
    built = (entry / "model.bin").read_bytes()
    before = (entry / "model.bin").stat().st_mtime_ns
    assert cached_model(checkpoint, "float32", tmp_path) == entry
    assert (entry / "model.bin").stat().st_mtime_ns == before
    assert cached_model(checkpoint, "int8", tmp_path) != entry
    for damage in (built[:-1], built[:-1] + b"x", b""):
        (entry / "model.bin").write_bytes(damage)
        assert cached_model(checkpoint, "float32", tmp_path) == entry
        assert (entry / "model.bin").read_bytes() == built
    (entry / "seal.json").unlink()
    cached_model(checkpoint, "float32", tmp_path)
    assert (entry / "seal.json").exists()
    assert sorted(p.name for p in entry.parent.iterdir() if p.name.startswith(".building")) == []


def test_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        cached_model(checkpoint_of(T5), "float32", tmp_path / "file")


def test_neither_torch_nor_transformers_is_needed(tmp_path: Path) -> None:
    """A process in which they cannot be imported opens, converts and runs a model."""
    code = f"""
import sys
sys.modules["torch"] = sys.modules["transformers"] = None
from support.driving import drive, texts
from support.ct2 import make_engine, params_for
from pathlib import Path
folder = Path({str(T5)!r})
engine = make_engine(folder, cache_dir=Path({str(tmp_path)!r}))
print(texts(drive(engine, [{INPUTS[4]}], params_for(folder)))[0][0])
"""
    root = Path(__file__).parents[2]
    environment = {"PYTHONPATH": f"{root / 'src'}:{root / 'tests'}"}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=True
    )
    theirs = oracle.generate(T5, INPUTS[4], params_for(T5))[0][0]
    assert run.stdout.decode().strip() == str(theirs)


def test_unknown_activation_is_refused(tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_model("bart"), tmp_path / "model")
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"gelu"', '"mish"'))
    with pytest.raises(UnsupportedModel, match="mish"):
        cached_model(open_checkpoint(folder), "float32", tmp_path / "cache")


def test_processes_that_convert_one_model_at_once_all_get_it(tmp_path: Path) -> None:
    """Also when what is there is damaged and each of them would rebuild it."""
    program = (
        "import sys; from pathlib import Path;"
        "from textmill.engines.checkpoint import open_checkpoint;"
        "from textmill.engines.converted import is_intact;"
        "from textmill.engines.ct2.cache import cached_model;"
        "entry = cached_model(open_checkpoint(Path(sys.argv[1])), 'int8', Path(sys.argv[2]));"
        "assert is_intact(entry); print(entry)"
    )
    command = [sys.executable, "-c", program, str(tiny_model("t5")), str(tmp_path)]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE)

    for damage in (False, True):
        if damage:
            next(tmp_path.rglob("model.bin")).write_bytes(b"damaged")
        running = [start() for _ in range(3)]
        printed = {process.communicate()[0] for process in running}
        assert [process.returncode for process in running] == [0, 0, 0]
        assert len(printed) == 1
    assert len(list((tmp_path / "ct2").iterdir())) == 2  # the entry and its lock
