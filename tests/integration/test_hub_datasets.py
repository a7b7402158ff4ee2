"""Data sets from a hub: what arrives, what is refused, what survives an interruption."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import hub_server
from support.hub_repos import news_files, noise
from support.hub_server import HubServer
from support.waiting import wait_for
from textmill.catalog.datasets import DataSet, fetch_dataset
from textmill.catalog.fetch import Transfer
from textmill.catalog.hub import Hub
from textmill.errors import InputError

REPO = "datasets/abisee/cnn_dailymail"
NEWS = f"hf://{REPO}"
TEST = "3.0.0/test-00000-of-00001.parquet"
BIG = 25_000_000


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with hub_server.running() as server:
        yield server


def fetched(hub: HubServer, address: str, home: Path, **options: object) -> DataSet:
    return fetch_dataset(address, home=home, hub=Hub(endpoint=hub.url), **options)  # type: ignore[arg-type]


def expect(hub: Hub, address: str, home: Path, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        fetch_dataset(address, home=home, hub=hub)
    for word in words:
        assert word in str(caught.value)
    assert caught.value.hint


def test_only_the_files_that_are_meant_are_fetched(hub: HubServer, tmp_path: Path) -> None:
    commit = hub.add(REPO, news_files())
    found = fetched(hub, f"{NEWS}/3.0.0/test", tmp_path)
    assert (found.name, found.revision, found.commit) == ("abisee/cnn_dailymail", "main", commit)
    assert found.names == (f"{NEWS}/{TEST}",)
    assert [path.read_bytes() for path in found.files] == [news_files()[TEST]]
    assert hub.downloads() == {Path(TEST).name}
    assert not list(tmp_path.rglob("*.part"))


def test_several_shards_come_sorted(hub: HubServer, tmp_path: Path) -> None:
    hub.add(REPO, news_files())
    found = fetched(hub, f"{NEWS}/3.0.0/train", tmp_path)
    assert [path.name for path in found.files] == [
        "train-00000-of-00002.parquet",
        "train-00001-of-00002.parquet",
    ]


def test_what_is_cached_needs_no_question_and_no_network(hub: HubServer, tmp_path: Path) -> None:
    hub.add(REPO, news_files())
    first = fetched(hub, f"{NEWS}/3.0.0/test", tmp_path)
    hub.seen.clear()
    assert fetched(hub, f"{NEWS}/3.0.0/test", tmp_path) == first
    offline = Hub(endpoint=hub.url, offline=True)
    glob = f"{NEWS}/3.0.0/test-*.parquet"
    assert fetch_dataset(glob, home=tmp_path, hub=offline).files == first.files
    expect(offline, f"{NEWS}/3.0.0/train", tmp_path, "offline mode", "--offline")
    assert hub.seen == []


def test_a_branch_means_one_commit_until_it_is_refreshed(hub: HubServer, tmp_path: Path) -> None:
    old = hub.add(REPO, news_files())
    fetched(hub, f"{NEWS}/3.0.0/test", tmp_path)
    new = hub.add(REPO, {**news_files(), TEST: b"new"})
    assert fetched(hub, f"{NEWS}/3.0.0/validation", tmp_path).commit == old
    renewed = fetched(hub, f"{NEWS}/3.0.0/test", tmp_path, refresh=True)
    assert renewed.commit == new
    assert renewed.files[0].read_bytes() == b"new"
    assert fetched(hub, f"{NEWS}@{old}/3.0.0/test", tmp_path).commit == old


def test_the_hubs_own_conversion_has_an_alias(hub: HubServer, tmp_path: Path) -> None:
    hub.add(REPO, {"news.py": b"", "train.csv": b"a,b\n"})
    data = news_files()[TEST]
    commit = hub.repos[REPO].push({"default/test/0000.parquet": data}, "refs/convert/parquet")
    expect(Hub(endpoint=hub.url), NEWS, tmp_path, "no Parquet files", f"{NEWS}@~parquet")
    for revision in ("~parquet", "refs%2Fconvert%2Fparquet", "refs/convert/parquet"):
        found = fetched(hub, f"{NEWS}@{revision}/default/test", tmp_path / revision[:3])
        assert (found.commit, found.files[0].read_bytes()) == (commit, data)


def test_no_match_lists_what_there_is(hub: HubServer, tmp_path: Path) -> None:
    hub.add(REPO, news_files())
    expect(Hub(endpoint=hub.url), f"{NEWS}/3.0.0/tst", tmp_path, "3.0.0/tst", "3.0.0/validation")
    expect(Hub(endpoint=hub.url), NEWS, tmp_path, "say which one", "3.0.0/test")
    assert hub.downloads() == set()


def test_refusals_say_what_to_do(hub: HubServer, tmp_path: Path) -> None:
    hub.add(REPO, news_files())
    hub.add("datasets/acme/secret", news_files(), gated=True)
    hub.add("datasets/acme/private", news_files(), token="right")
    at = Hub(endpoint=hub.url)
    expect(at, f"{NEWS}@v9/3.0.0", tmp_path, "@v9", "no such revision", f"{hub.url}/{REPO}")
    expect(at, "hf://datasets/acme/none", tmp_path, "acme/none", "(401)", "HF_TOKEN")
    known = Hub(endpoint=hub.url, token="known")
    expect(known, "hf://datasets/acme/none", tmp_path, "is not there", "spelling")
    where = f"{hub.url}/datasets/acme/secret"
    expect(at, "hf://datasets/acme/secret", tmp_path, "gated", where, "HF_TOKEN")
    expect(known, "hf://datasets/acme/private", tmp_path, "HF_TOKEN")
    private = Hub(endpoint=hub.url, token="right")
    assert fetch_dataset("hf://datasets/acme/private/3.0.0/test", home=tmp_path, hub=private).files
    hub.status = 500
    expect(at, "hf://datasets/acme/other", tmp_path, "500")


def test_a_cut_connection_is_continued(hub: HubServer, tmp_path: Path) -> None:
    data = noise(BIG)
    hub.add(REPO, {"data/x.parquet": data})
    hub.cut_once["data/x.parquet"] = BIG - 1_000
    steps: list[Transfer] = []
    found = fetched(hub, f"{NEWS}/data/x.parquet", tmp_path, progress=steps.append)
    assert found.files[0].read_bytes() == data
    assert [s.headers.get("range") for s in hub.gets("x.parquet")] == [None, "bytes=20971520-"]
    assert steps[-1].done_bytes == steps[-1].total_bytes == BIG


def test_what_an_interrupted_download_left_is_continued(hub: HubServer, tmp_path: Path) -> None:
    data = noise(BIG)
    hub.add(REPO, {"data/x.parquet": data, "data/y.parquet": b"y"})
    fetched(hub, f"{NEWS}/data/y.parquet", tmp_path)
    (place,) = tmp_path.rglob("files/data")
    (place / "x.parquet.part").write_bytes(data[:12_345])
    found = fetched(hub, f"{NEWS}/data/x.parquet", tmp_path)
    assert found.files[0].read_bytes() == data
    assert [s.headers.get("range") for s in hub.gets("x.parquet")] == ["bytes=12345-"]


def test_content_that_is_not_what_the_hub_announced_is_refused(
    hub: HubServer, tmp_path: Path
) -> None:
    hub.add(REPO, news_files())
    hub.tampered.add(TEST)
    expect(Hub(endpoint=hub.url), f"{NEWS}/3.0.0/test", tmp_path, TEST, "another content")
    assert not list(tmp_path.rglob("test-*"))


def test_a_cached_file_of_another_size_is_fetched_again(hub: HubServer, tmp_path: Path) -> None:
    hub.add(REPO, news_files())
    (path,) = fetched(hub, f"{NEWS}/3.0.0/test", tmp_path).files
    path.write_bytes(b"short")
    (again,) = fetched(hub, f"{NEWS}/3.0.0/test", tmp_path).files
    assert again.read_bytes() == news_files()[TEST]


def test_two_that_fetch_one_file_download_it_once(hub: HubServer, tmp_path: Path) -> None:
    hub.add(REPO, news_files())
    hub.hold_after[TEST] = 10
    found: list[DataSet] = []
    threads = [
        threading.Thread(target=lambda: found.append(fetched(hub, f"{NEWS}/3.0.0/test", tmp_path)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    assert hub.held.wait(timeout=120)
    wait_for(lambda: sum(s.path.startswith("/api/") for s in hub.seen) == 2)
    hub.go_on.set()
    for thread in threads:
        thread.join(timeout=120)
    assert len(found) == 2
    assert found[0] == found[1]
    assert len(hub.gets(Path(TEST).name)) == 1


def test_a_cache_that_cannot_be_written(hub: HubServer, tmp_path: Path) -> None:
    hub.add(REPO, news_files())
    (tmp_path / "datasets").write_text("in the way")
    expect(Hub(endpoint=hub.url), f"{NEWS}/3.0.0/test", tmp_path, "cannot be written")
