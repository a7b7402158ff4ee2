"""Objects that are staged: what they may take, and what becomes of one that takes more."""

from __future__ import annotations

import gzip
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from support.orders import order
from textmill.gateway.transform import staging
from textmill.gateway.transform.staging import ROW_BYTES, InputObject, Room, stage
from textmill.storage.connecting import StoreOptions
from textmill.storage.local import LocalStore


def staged(folder, texts, max_bytes, order):
    """Objects with these texts, staged where there is room for so many bytes."""
    objects = []
    for number, text in enumerate(texts):
        path = Path(folder) / f"{number}.in"
        path.write_bytes(gzip.compress(text) if order.gzip else text)
        objects.append(InputObject(str(path), path.name))
    (Path(folder) / "job").mkdir()
    store = LocalStore(Path(folder) / "job")
    return stage(order, objects, Room(store, max_bytes), StoreOptions()), store


def test_a_bomb_costs_itself_and_no_other(tmp_path):
    """60 MB of lines in 60 kB: refused by name when the room is used up, and no copy is left."""
    bomb = b'{"text_inputs": "a"}\n' * 3_000_000
    good = b'{"text_inputs": "a"}\n' * 1000
    (first, second, third), store = staged(
        tmp_path, [good, bomb, good], 1_000_000, order(compression="Gzip")
    )
    assert (first.rows, second.rows, third.rows) == (1000, 0, 1000)
    assert first.unreadable is None is third.unreadable
    assert second.unreadable.startswith(f"{tmp_path}/1.in does not fit: ")
    assert "1,000,000 bytes" in second.unreadable
    assert "--state on a larger disk" in second.unreadable
    assert [len(store.read(one.name)) for one in (first, second, third)] == [21_000, 0, 21_000]


@given(st.lists(st.lists(st.binary(max_size=40)), max_size=5), st.integers(0, 5000))
def test_what_is_staged_takes_no_more_than_there_is_room_for(tmp_path_factory, lines, max_bytes):
    objects = [b"".join(one.replace(b"\n", b"") + b"\n" for one in few) for few in lines]
    texts = order("application/x-text")
    found, _ = staged(tmp_path_factory.mktemp("room"), objects, max_bytes, texts)
    kept = [data for one, data in zip(found, objects, strict=True) if one.unreadable is None]
    assert sum(len(data) + ROW_BYTES * data.count(b"\n") for data in kept) <= max_bytes


def test_records_that_cannot_be_read_are_listed_up_to_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(staging, "MAX_REFUSED", 10)
    bad = [b"\xff\n" * count for count in (10, 11)]
    (most, more), _ = staged(tmp_path, bad, 10_000, order("application/x-text"))
    assert len(most.refused) == 10
    assert "over 10 of its records cannot be read, the first at line 1" in more.unreadable
