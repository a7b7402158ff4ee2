"""From paths and URLs to stores, and to the inputs of a job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.s3_server import s3_client
from support.stores import BUCKET, make_bucket
from textmill.errors import InputError, UsageError
from textmill.storage.connecting import StoreOptions
from textmill.storage.opening import expand_urls, is_url, open_store


@pytest.fixture
def options(s3_url: str, credentials: None) -> StoreOptions:
    return StoreOptions(endpoint_url=s3_url)


@pytest.fixture
def put(s3_url: str, request: pytest.FixtureRequest) -> Any:
    """Put an object, by Amazon's own client; returns its URL."""
    client, prefix = s3_client(s3_url), f"opening/{request.node.name}"

    def put(name: str, data: bytes = b"x") -> str:
        client.put_object(Bucket=BUCKET, Key=f"{prefix}/{name}", Body=data)
        return f"s3://{BUCKET}/{prefix}/{name}"

    return put


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://bucket/key", True),
        ("S3://bucket/key", True),
        ("gs://bucket/", True),
        ("az://box@account/a", True),
        ("abfss://box@account.dfs.core.windows.net/a", True),
        ("hf://datasets/x", False),
        ("folder/s3://bucket", False),
        ("s3:/bucket", False),
        ("file.jsonl", False),
        ("-", False),
    ],
)
def test_urls_of_stores_are_known(text: str, expected: bool) -> None:
    assert is_url(text) is expected


@pytest.mark.parametrize("path", ["out.jsonl", "a/b/out.jsonl", "./out", "/tmp/out", "a b/o%20t"])
def test_a_path_is_a_file_in_its_folder(path: str) -> None:
    store, name = open_store(path, StoreOptions())
    assert name == path.rpartition("/")[2]
    assert Path(store.label(name)) == Path(path)


def test_a_url_is_an_object_below_its_prefix(put: Any, options: StoreOptions) -> None:
    url = put("a b/100%/out+1.jsonl", b"data")
    store, name = open_store(url, options)
    assert name == "out+1.jsonl"
    assert store.label(name) == url
    assert store.read(name) == b"data"
    store.replace(f"{name}.job/lock", b"x")
    assert store.names("") == [name, f"{name}.job/lock"]


def test_an_object_may_stand_at_the_root_of_its_bucket(s3_url: str, options: StoreOptions) -> None:
    make_bucket(s3_url, "bucket-of-its-own")
    store, name = open_store("s3://bucket-of-its-own/root.jsonl", options)
    store.replace(name, b"data")
    assert store.names("ro") == ["root.jsonl"]
    assert store.label(name) == "s3://bucket-of-its-own/root.jsonl"
    assert [f.path for f in expand_urls("s3://bucket-of-its-own/", options)] == [store.label(name)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        ".",
        "s3://",
        "s3://bucket",
        "s3://bucket/",
        "s3://bucket/a/",
        "s3:///a",
        "ftp://a/b",
    ],
)
def test_what_names_no_file_is_refused(text: str, options: StoreOptions) -> None:
    with pytest.raises(UsageError):
        open_store(text, options)


def test_one_object_is_one_input(put: Any, options: StoreOptions) -> None:
    url = put("in.jsonl", b"12345")
    [found] = expand_urls(url, options)
    assert (found.path, found.size_bytes) == (url, 5)


def test_a_prefix_is_every_object_below_it_sorted(put: Any, options: StoreOptions) -> None:
    urls = [put(f"in/{name}", b"123") for name in ("b.jsonl", "a/z.jsonl", "a.jsonl", "ü &.jsonl")]
    put("in/a/", b"")
    put("input.jsonl")
    found = expand_urls(urls[0].removesuffix("b.jsonl"), options)
    assert [file.path for file in found] == sorted(urls)
    assert {file.size_bytes for file in found} == {3}


def test_what_is_not_there_is_refused_with_a_hint(put: Any, options: StoreOptions) -> None:
    url = put("in/a.jsonl")
    with pytest.raises(InputError, match=r"no object .*/in/\*"):
        expand_urls(url.replace("a.jsonl", "*"), options)
    with pytest.raises(InputError, match="a prefix ends in /"):
        expand_urls(url.removesuffix("/a.jsonl"), options)
    with pytest.raises(InputError, match="no object below"):
        expand_urls(url + "/", options)
    with pytest.raises(InputError, match="no manifest"):
        expand_urls(url + ".manifest", options)


def test_a_manifest_lists_objects_in_its_own_order(put: Any, options: StoreOptions) -> None:
    urls = [put(f"in/{name}", b"1") for name in ("b.jsonl", "a+b c.jsonl")]
    prefix = urls[0].removesuffix("b.jsonl")
    text = json.dumps([{"prefix": prefix}, "b.jsonl", "a+b c.jsonl"])
    manifest = put("list.manifest", text.encode())
    assert [file.path for file in expand_urls(manifest, options)] == urls


def test_a_manifest_on_disk_may_list_objects_or_files(
    put: Any, options: StoreOptions, tmp_path: Path
) -> None:
    url = put("in.jsonl")
    manifest = tmp_path / "list.manifest"
    manifest.write_text(json.dumps([{"prefix": ""}, url]))
    assert [file.path for file in expand_urls(str(manifest), options)] == [url]
    names = ["a*[1].jsonl", "b.jsonl"]
    for name in names:
        (tmp_path / name).write_text("12")
    manifest.write_text(json.dumps([{"prefix": f"{tmp_path}/"}, *names]))
    found = expand_urls(str(manifest), options)
    assert [(file.path, file.size_bytes) for file in found] == [
        (f"{tmp_path}/{name}", 2) for name in names
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "malformed|truncated"),
        ("{}", "array"),
        ("[]", "first element"),
        ('["a"]', "first element"),
        ('[{"prefix": "s3://b/"}]', "names no object"),
        ('[{"prefix": "s3://b/"}, {"prefix": "s3://c/"}]', "is not a name"),
        ('[{"prefix": "s3://b/"}, 5]', "int"),
        ('[{"prefx": "s3://b/"}, "a"]', "first element"),
        ('[{"prefix": "s3://b/"}, "a", "b", "a"]', "2 times"),
    ],
)
def test_a_manifest_that_is_none_is_refused(text: str, why: str, tmp_path: Path) -> None:
    manifest = tmp_path / "list.manifest"
    manifest.write_text(text)
    with pytest.raises(InputError, match=why) as caught:
        expand_urls(str(manifest), StoreOptions())
    assert str(manifest) in caught.value.message


def test_a_manifest_that_lists_what_is_not_there_is_refused(
    put: Any, options: StoreOptions, tmp_path: Path
) -> None:
    url = put("in.jsonl")
    manifest = tmp_path / "list.manifest"
    manifest.write_text(json.dumps([{"prefix": url[:-8]}, "in.jsonl", "out.jsonl"]))
    with pytest.raises(InputError, match=r"there is no object .*out\.jsonl"):
        expand_urls(str(manifest), options)
