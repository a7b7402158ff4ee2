"""Archives that name a model in place of its weights, as SDKs pack and repack them."""

from __future__ import annotations

import gzip
import io
import tarfile

import pytest

pytest.importorskip("botocore")

from support.tars import END, member
from textmill.errors import InputError
from textmill.gateway.identity import Identity
from textmill.gateway.jumpstart import catalog_object, versions
from textmill.gateway.pointers import POINTER, pointed_model, pointer_archive, script_archive
from textmill.gateway.transform.modeldata import fetch_model
from textmill.storage.connecting import StoreOptions

NAME = "huggingface-text2text-flan-t5-base@1.3.2"


def extracted(data):
    """Files by name, read by a library that is not ours."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
        return {one.name: tar.extractfile(one).read() for one in tar.getmembers()}


def repacked(folder, *archives):
    """One archive of several, as the SageMaker SDK writes it, scripts in `code/`."""
    files = folder / "files"
    (files / "code").mkdir(parents=True)
    for archive in archives:
        for name, data in extracted(archive).items():
            (files / (f"code/{name}" if name.endswith(".py") else name)).write_bytes(data)
    path = folder / "model.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(files, arcname="/")
    return path


def test_an_archive_names_its_model_and_still_does_when_it_is_packed_anew(tmp_path):
    path = tmp_path / "plain.tar.gz"
    path.write_bytes(pointer_archive(NAME))
    assert extracted(pointer_archive(NAME)).keys() == {POINTER}
    assert pointed_model(path) == NAME
    assert pointed_model(repacked(tmp_path, pointer_archive(NAME), script_archive())) == NAME
    assert pointer_archive(NAME) == pointer_archive(NAME)


def test_every_model_of_the_catalog_has_its_archive():
    """Under the keys that SDKs make of its spec."""
    import json

    for id_, all_ in versions().items():
        for version in all_:
            spec = json.loads(catalog_object(f"community_models/{id_}/specs_v{version}.json"))
            data = catalog_object(spec["hosting_prepacked_artifact_key"])
            assert json.loads(extracted(data)[POINTER]) == {"model": f"{id_}@{version}"}
            assert "inference.py" in extracted(catalog_object(spec["hosting_script_key"]))
    prepack = "huggingface-infer/prepack/v9.9.9/infer-prepack-"
    assert catalog_object(f"{prepack}huggingface-text2text-flan-t5-base.tar.gz") is None


def test_other_archives_name_no_model(tmp_path):
    path = tmp_path / "model.tar.gz"
    path.write_bytes(gzip.compress(member("config.json", b"{}") + member("code/" + POINTER) + END))
    assert pointed_model(path) is None
    path.write_bytes(gzip.compress(member("a", bytes(65 << 20)) + member(POINTER, b"{}") + END))
    assert pointed_model(path) is None


@pytest.mark.parametrize(
    "text", [b"", b"[]", b'{"model": 5}', b'{"model": "x", "y": 1}', b" " * 2000]
)
def test_a_pointer_that_is_none(tmp_path, text):
    path = tmp_path / "model.tar.gz"
    path.write_bytes(gzip.compress(member(POINTER, text) + END))
    with pytest.raises(InputError):
        pointed_model(path)


@pytest.mark.parametrize("name", ["/etc", "../../x", "./model", "flan-t5-smal", "https://h/v1", ""])
def test_what_a_pointer_names_is_checked_like_every_name_of_a_request(tmp_path, name):
    source = tmp_path / "model.tar.gz"
    source.write_bytes(pointer_archive(name))
    with pytest.raises(InputError):
        fetch_model(Identity(data="s3://b/model.tar.gz"), tmp_path, StoreOptions())
