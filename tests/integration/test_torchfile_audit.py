"""Reading a torch file does nothing but read that file, as Python's audit events show."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from support import hostile, torchfiles

REPOSITORY = Path(__file__).parent.parent.parent

WATCH = """
import json, sys
from pathlib import Path
from textmill.engines.checkpoint.torchfile import open_torch_file
from textmill.errors import ModelError

events, watching = [], False

def hook(event, args):
    if watching:
        events.append([event, str(args[0]) if args else ""])

sys.addaudithook(hook)
for line in sys.stdin:
    path = Path(line.rstrip("\\n"))
    modules = set(sys.modules)
    events.clear()
    watching = True
    try:
        with open_torch_file(path) as file:
            outcome = sorted(name for name in file if file.load(name) is not None)
    except ModelError as error:
        outcome = type(error).__name__
    watching = False
    new = sorted(set(sys.modules) - modules)
    print(json.dumps({"events": events, "modules": new, "outcome": outcome}))
"""


def watch(paths: list[Path]) -> list[dict[str, object]]:
    """What one process saw while it read each file: audit events, new modules, the outcome."""
    done = subprocess.run(
        [sys.executable, "-c", WATCH],
        input="".join(f"{path}\n" for path in paths),
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(REPOSITORY / "src")},
        timeout=120,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def assert_only_read(path: Path, seen: dict[str, object]) -> None:
    assert seen["modules"] == [], path
    assert ["open", str(path)] in seen["events"]
    for event, argument in seen["events"]:
        assert event in {"open", "mmap.__new__"}, (path, event, argument)
        assert event != "open" or argument == str(path)


def test_hostile_files_are_refused_and_nothing_happens(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    pickles = hostile.python_pickles(str(mark)) | hostile.opcode_pickles(str(mark))
    paths = []
    for number, pickle in enumerate(pickles.values()):
        storages = {"0": bytes(16)}
        paths.append(torchfiles.write_zip(tmp_path / f"{number}.zip", pickle, storages))
        paths.append(tmp_path / f"{number}.pkl")
        paths[-1].write_bytes(pickle)
        paths.append(tmp_path / f"{number}.legacy")
        magic = torchfiles.pickled(torchfiles.integer(0x1950A86A20F9469CFC6C))
        version = torchfiles.pickled(torchfiles.integer(1001))
        system = torchfiles.pickled(torchfiles.table(little_endian=b"\x88"))
        paths[-1].write_bytes(magic + version + system + pickle)
    for path, seen in zip(paths, watch(paths), strict=True):
        assert_only_read(path, seen)
        is_text = path.suffix == ".pkl" and not path.read_bytes().startswith(b"\x80")
        assert seen["outcome"] == ("CorruptModel" if is_text else "UnsafeModel"), path
    assert not mark.exists()


def test_the_hostile_pickles_are_hostile(tmp_path: Path) -> None:
    """The test above can fail: the same pickles, run by Python, leave their mark."""
    import pickle

    mark = tmp_path / "mark"
    pickle.loads(hostile.python_pickles(str(mark))["os.system, protocol 2"])
    assert mark.exists()


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_sound_files_are_read_and_nothing_else_happens(tmp_path: Path, legacy: bool) -> None:
    dtypes = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool]
    tensors = {str(dtype): torch.ones(3, 4).to(dtype).T for dtype in dtypes}
    path = torchfiles.save(tensors, tmp_path / "m.bin", legacy=legacy)
    (seen,) = watch([path])
    assert_only_read(path, seen)
    assert seen["outcome"] == sorted(tensors)
