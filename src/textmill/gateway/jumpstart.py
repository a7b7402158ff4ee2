"""JumpStart's catalog of text-to-text models, made from textmill's: what SDKs read of it.

The SDKs read objects of the bucket `jumpstart-cache-prod-REGION`; it is served from memory, for
every region. Weights are not in it: a model's key alone says which model it is (`identity.py`),
and its archive does, for SDKs that pack it anew (`pointers.py`).
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

from textmill.catalog.entries import JUMPSTART, Entry, entries, version_key
from textmill.gateway.pointers import pointer_archive, script_archive
from textmill.gateway.wire.models import SAGEMAKER, operation

DEMO_ID = f"{JUMPSTART}textmill-demo"
"""The embedded model, by an id that JumpStart's filters take."""

MANIFEST, PROPRIETARY_MANIFEST = "models_manifest.json", "proprietary-sdk-manifest.json"
IMAGE = "textmill:latest"
"""The image of every model: nothing depends on it."""

_BUCKET = re.compile(r"jumpstart-(private-)?cache-prod-[a-z0-9-]{2,40}")
_SPEC_KEY = re.compile(r"community_models/([a-z0-9-]{1,200})/specs_v([0-9.]{1,20})\.json")
_ARTIFACT = "huggingface-infer/prepack/v{version}/infer-prepack-{id}.tar.gz"
_ARTIFACT_KEY = re.compile(
    r"huggingface-infer/prepack/v([0-9.]{1,20})/infer-prepack-([a-z0-9-]{1,200})\.tar\.gz"
)
_SCRIPT_KEY = "source-directory-tarballs/textmill/sourcedir.tar.gz"
_MIN_SDK = "2.144.0"
_DEMO_VERSION = "1.0.0"
_NOBODY = "textmill-none-placeholder"
_CONTENT_TYPES = ["application/json", "application/x-text", "application/jsonlines"]


def is_catalog(bucket: str) -> bool:
    """Whether a bucket is one of the catalog's."""
    return _BUCKET.fullmatch(bucket) is not None


def catalog_object(key: str) -> bytes | None:
    """An object of the catalog; None if it has none of that key."""
    if key in (MANIFEST, PROPRIETARY_MANIFEST):
        return _manifest(proprietary=key == PROPRIETARY_MANIFEST)
    if key == _SCRIPT_KEY:
        return script_archive()
    if (match := _ARTIFACT_KEY.fullmatch(key)) and match[1] in versions().get(match[2], ()):
        return pointer_archive(f"{match[2]}@{match[1]}")
    if (match := _SPEC_KEY.fullmatch(key)) and match[2] in versions().get(match[1], ()):
        return _spec(match[1], match[2])
    return None


@cache
def catalog_keys() -> tuple[str, ...]:
    """Of all objects of the catalog."""
    pairs = [(id_, version) for id_, all_ in versions().items() for version in all_]
    specs = [_key(id_, version) for id_, version in pairs]
    artifacts = [_ARTIFACT.format(id=id_, version=version) for id_, version in pairs]
    return (MANIFEST, PROPRIETARY_MANIFEST, _SCRIPT_KEY, *specs, *artifacts)


@cache
def versions() -> dict[str, tuple[str, ...]]:
    """Every id that SDKs may ask for, and its versions."""
    found = {entry.id: entry.versions for entry in entries() if _is_jumpstart(entry)}
    return {**found, DEMO_ID: (_DEMO_VERSION,), _NOBODY: (_DEMO_VERSION,)}


def _is_jumpstart(entry: Entry) -> bool:
    return entry.id.startswith(JUMPSTART) and bool(entry.versions) and entry.unsupported is None


@cache
def _manifest(*, proprietary: bool) -> bytes:
    """Neither list may be empty: SDKs take the first element of each."""
    chosen = [
        {
            "model_id": id_,
            "version": version,
            "min_version": _MIN_SDK,
            "spec_key": _key(id_, version),
        }
        for id_, all_ in sorted(versions().items())
        if (id_ == _NOBODY) == proprietary
        for version in sorted(all_, key=version_key, reverse=True)
    ]
    return json.dumps(chosen).encode()


def _key(id_: str, version: str) -> str:
    return f"community_models/{id_}/specs_v{version}.json"


@cache
def _spec(id_: str, version: str) -> bytes:
    artifact = _ARTIFACT.format(version=version, id=id_)
    accepts = ["application/json", "application/jsonlines", "text/csv"]
    spec: dict[str, Any] = {
        "model_id": id_,
        "url": "",
        "version": version,
        "min_sdk_version": _MIN_SDK,
        "training_supported": False,
        "incremental_training_supported": False,
        "deprecated": False,
        "hosting_ecr_specs": {
            "framework": "huggingface",
            "framework_version": "1.10.2",
            "py_version": "py38",
            "huggingface_transformers_version": "4.17.0",
        },
        "hosting_instance_type_variants": {
            "variants": {family: {"properties": {"image_uri": IMAGE}} for family in families()}
        },
        "hosting_artifact_key": artifact,
        "hosting_prepacked_artifact_key": artifact,
        "hosting_script_key": _SCRIPT_KEY,
        "hosting_use_script_uri": False,
        "inference_environment_variables": [],
        "inference_vulnerable": False,
        "inference_dependencies": [],
        "inference_vulnerabilities": [],
        "training_vulnerable": False,
        "training_dependencies": [],
        "training_vulnerabilities": [],
        "default_inference_instance_type": "ml.p3.2xlarge",
        "supported_inference_instance_types": instance_types(),
        # Isolated models lose their `env`, HYPER_PARAMS with it, in the SDK's transformer().
        "inference_enable_network_isolation": False,
        "predictor_specs": {
            "default_content_type": "application/json",
            "supported_content_types": _CONTENT_TYPES,
            "default_accept_type": "application/json",
            "supported_accept_types": accepts,
        },
        "model_kwargs": {},
        "deploy_kwargs": {},
    }
    return json.dumps(spec).encode()


@cache
def instance_types() -> list[str]:
    """All that a transform job or an endpoint may name."""
    found: dict[str, None] = {}
    job = operation(SAGEMAKER, "CreateTransformJob").input_shape
    config = operation(SAGEMAKER, "CreateEndpointConfig").input_shape
    for shape in (
        job.members["TransformResources"].members["InstanceType"],
        config.members["ProductionVariants"].member.members["InstanceType"],
    ):
        found |= dict.fromkeys(shape.metadata["enum"])
    return list(found)


@cache
def families() -> list[str]:
    """`p3` of ml.p3.2xlarge: SDKs refuse an instance type whose family has no image."""
    return list(dict.fromkeys(name.split(".")[1] for name in instance_types()))
