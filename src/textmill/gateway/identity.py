"""Which of textmill's models a SageMaker model means. A request can name no path and no address.

SageMaker's model is an image, data in a bucket, and an environment. The image says nothing here.
The first of these that says something decides:

1. the environment's TEXTMILL_MODEL: a catalog id or a Hugging Face repository
2. the tags that JumpStartModel sets
3. a ModelDataUrl in a JumpStart bucket whose key holds a catalog id
4. the environment's HF_MODEL_ID: a Hugging Face repository
5. ModelDataUrl or ModelDataSource: a model.tar.gz, or a prefix with a model's files
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from textmill.catalog.catalog import DEMO, REPOSITORY, interpret
from textmill.catalog.entries import entries
from textmill.errors import TextmillError
from textmill.gateway.jumpstart import DEMO_ID
from textmill.gateway.wire.faults import AwsError, invalid
from textmill.words import written

MODEL_KEY = "TEXTMILL_MODEL"
HUB_KEY = "HF_MODEL_ID"
ID_TAG, VERSION_TAG = "sagemaker-sdk:jumpstart-model-id", "sagemaker-sdk:jumpstart-model-version"

_JUMPSTART_BUCKET = re.compile(r"jumpstart-(cache|private-cache)-[a-z0-9-]+")
_S3 = re.compile(r"s3://([^/]+)/(.+)", re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?(@[\w.*-]+)?", re.ASCII)
_WAY_OUT = (
    f"set {MODEL_KEY} in the model's Environment to a catalog id (textmill models list) or a"
    " Hugging Face repository, or give ModelDataUrl the address of a model.tar.gz"
)


class Identity(Struct, frozen=True, kw_only=True):
    """A model by its name, or by where its data is; one of the two.

    name: as `textmill run --model` takes it, never a path. data: s3://…, of an archive or a prefix.
    """

    name: str | None = None
    data: str | None = None


def identify(container: Mapping[str, Any], tags: Mapping[str, str]) -> Identity:
    """What a model's container means. Raises `AwsError` if that is nothing that textmill runs."""
    environment = container.get("Environment", {})
    if MODEL_KEY in environment:
        return _named(environment[MODEL_KEY], MODEL_KEY)
    if ID_TAG in tags:
        return by_id(tags[ID_TAG], tags.get(VERSION_TAG, "*"), ID_TAG)
    data = _data(container)
    bucket, key = _bucket_and_key(data)
    if _JUMPSTART_BUCKET.fullmatch(bucket):
        return _jumpstart(key)
    if HUB_KEY in environment:
        if not REPOSITORY.fullmatch(environment[HUB_KEY]):
            raise invalid(
                f"{HUB_KEY}={written(environment[HUB_KEY][:100])} is not a repository, org/name"
            )
        return _named(environment[HUB_KEY], HUB_KEY)
    if data is not None:
        return Identity(data=data)
    raise invalid(f"nothing says which model this is; {_WAY_OUT}")


def by_id(id_: str, version: str, said_by: str) -> Identity:
    """JumpStart's model of that id; version: `*` for any. Raises `AwsError`."""
    if id_ == DEMO_ID:
        return Identity(name=DEMO)
    return _named(id_ if version == "*" else f"{id_}@{version}", said_by)


def _named(name: str, said_by: str) -> Identity:
    if not _NAME.fullmatch(name) or name.endswith((".gz", ".tgz")):
        raise invalid(f"{said_by}={written(name[:100])} is not the name of a model; {_WAY_OUT}")
    try:
        target = interpret(name)
    except TextmillError as error:
        raise _refused(said_by, name, error) from error
    if target.path is not None:  # a folder of the gateway's machine that happens to have the name
        raise invalid(f"{said_by}={written(name[:100])} names a local folder, which no request may")
    return Identity(name=name)


def _refused(said_by: str, name: str, error: TextmillError) -> AwsError:
    hint = f" {error.hint}" if error.hint else ""
    return invalid(f"{said_by}={written(name[:100])}: {error.message}.{hint}")


def _data(container: Mapping[str, Any]) -> str | None:
    """Where the model's data is. A client writes one of two members."""
    source = container.get("ModelDataSource", {}).get("S3DataSource", {})
    found: str | None = container.get("ModelDataUrl") or source.get("S3Uri")
    if found is not None and not _S3.fullmatch(found):
        raise invalid(
            f"the model's data must be in a bucket, s3://BUCKET/KEY, not {written(found[:100])}"
        )
    return found


def _bucket_and_key(data: str | None) -> tuple[str, str]:
    match = _S3.fullmatch(data or "")
    return (match[1], match[2]) if match else ("", "")


def _jumpstart(key: str) -> Identity:
    """The longest id that stands in the key, so that flan-t5-xxl-fp16 is not taken for its kin."""
    ids = sorted((*(one.id for one in entries()), DEMO_ID), key=len, reverse=True)
    found = next((one for one in ids if re.search(rf"(^|[/-]){re.escape(one)}([/.]|$)", key)), None)
    if found is None:
        raise invalid(
            f"the catalog has no model for JumpStart's key {written(key[:200])}; {_WAY_OUT}"
        )
    return _named(DEMO if found == DEMO_ID else found, "ModelDataUrl")
