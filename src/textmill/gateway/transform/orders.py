"""From CreateTransformJob to an order that a worker carries out. Pure: every refusal comes here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct

from textmill.errors import TextmillError
from textmill.gateway.identity import Identity
from textmill.gateway.wire.faults import AwsError, invalid
from textmill.params import Layer, Origin, Resolver, parse_hyper_params
from textmill.records.jsonpath import parse_path
from textmill.words import written

HYPER_PARAMS = "HYPER_PARAMS"
ERROR_POLICY = "TEXTMILL_ON_ERROR"
MEBIBYTE = 1024 * 1024
MAX_PAYLOAD_MB = 100
DEFAULT_PAYLOAD_MB, DEFAULT_TIMEOUT_SECONDS, DEFAULT_RETRIES = 6, 600, 3

_S3_URI = re.compile(r"s3://([^/]+)/?(.*)", re.DOTALL)


class OnError(StrEnum):
    """What becomes of an object with records that have no result (`TEXTMILL_ON_ERROR`)."""

    FAIL = "fail"
    """SageMaker's rule: the object has no output, and the job fails."""
    PLACEHOLDER = "placeholder"
    """The record's place in the output holds its error."""
    DEAD_LETTER = "dead-letter"
    """The output leaves the record out; `KEY.out.errors.jsonl` has it."""


class Payload(StrEnum):
    """What the model is sent."""

    JSON_LINES = "application/jsonlines"
    JSON = "application/json"
    TEXT = "application/x-text"


class Answers(StrEnum):
    """What the model answers."""

    JSON = "application/json"
    REPR = "text/csv"
    """Python's repr of each record, as JumpStart's container writes csv."""


class Order(Struct, frozen=True, kw_only=True):
    """A transform job as its worker needs it.

    uri, is_manifest: the input. gzip: objects must be gzipped. split: each line is a record, else
    the object is. multi_record: records of one object share a request up to `max_payload_bytes`;
    0 is no limit. assemble_lines: a line end after each answer.
    """

    job: str
    model: Identity
    hyper_params: str | None
    uri: str
    is_manifest: bool
    gzip: bool
    payload: Payload
    split: bool
    multi_record: bool
    max_payload_bytes: int
    timeout_seconds: int
    max_retries: int
    output: str
    answers: Answers
    assemble_lines: bool
    input_filter: str | None
    join: bool
    output_filter: str | None
    on_error: OnError
    at_once: int = 1
    instances: int = 1

    @property
    def settings(self) -> str:
        """What decides its requests, in the words of SageMaker's logs."""
        strategy = "MULTI_RECORD" if self.multi_record else "SINGLE_RECORD"
        size = self.max_payload_bytes // MEBIBYTE
        return (
            f"MaxConcurrentTransforms={self.at_once}, MaxPayloadInMB={size},"
            f" BatchStrategy={strategy}"
        )


def order_of(
    job: Mapping[str, Any], model: Identity, model_environment: Mapping[str, str]
) -> Order:
    """The order of a request. Raises `AwsError` for what cannot be done as asked."""
    environment = {**model_environment, **job.get("Environment", {})}
    source, output = job["TransformInput"], job["TransformOutput"]
    data = source["DataSource"]["S3DataSource"]
    split = _split(source.get("SplitType", "None"))
    payload, answers = _payload(source.get("ContentType")), _answers(output.get("Accept"))
    client = job.get("ModelClientConfig", {})
    _refuse_unsupported(job, data)
    filters = _filters(job, payload, answers)
    return Order(
        job=job["TransformJobName"],
        model=model,
        hyper_params=checked_hyper_params(environment.get(HYPER_PARAMS)),
        uri=_s3_uri(data["S3Uri"], "TransformInput.DataSource.S3DataSource.S3Uri"),
        is_manifest=data["S3DataType"] == "ManifestFile",
        gzip=source.get("CompressionType", "None") == "Gzip",
        payload=payload,
        split=split,
        multi_record=split and job.get("BatchStrategy", "MultiRecord") == "MultiRecord",
        max_payload_bytes=_max_payload_bytes(job),
        timeout_seconds=client.get("InvocationsTimeoutInSeconds", DEFAULT_TIMEOUT_SECONDS),
        max_retries=client.get("InvocationsMaxRetries", DEFAULT_RETRIES),
        output=_s3_uri(output["S3OutputPath"], "TransformOutput.S3OutputPath"),
        answers=answers,
        assemble_lines=output.get("AssembleWith", "None") == "Line",
        input_filter=filters.get("InputFilter"),
        join=filters.get("JoinSource", "None") == "Input",
        output_filter=filters.get("OutputFilter"),
        on_error=_on_error(environment.get(ERROR_POLICY, OnError.FAIL)),
        at_once=job.get("MaxConcurrentTransforms") or 1,
        instances=job["TransformResources"]["InstanceCount"],
    )


def _refuse_unsupported(job: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    if data["S3DataType"] not in {"S3Prefix", "ManifestFile"}:
        raise invalid(f"S3DataType {data['S3DataType']} is not one that a transform job takes")
    if "DataCaptureConfig" in job:
        raise invalid("DataCaptureConfig: textmill captures no data; inputs and outputs are kept")


def _split(kind: str) -> bool:
    if kind not in {"None", "Line"}:
        raise invalid(f"SplitType {kind}: text-to-text models take None or Line")
    return kind == "Line"


def media_type(text: str | None) -> str:
    """A media type without its parameters, in small letters; "" for none and for any."""
    found = (text or "").partition(";")[0].strip().lower()
    return "" if found == "*/*" else found


def _payload(content_type: str | None) -> Payload:
    known = {"": Payload.JSON, "text/plain": Payload.TEXT, **{str(one): one for one in Payload}}
    found = known.get(media_type(content_type))
    if found is None:
        raise invalid(
            f"ContentType {written(content_type)} is not one that text-to-text models take;"
            f" they take {', '.join(Payload)}"
        )
    return found


def _answers(accept: str | None) -> Answers:
    kind = media_type(accept)
    if kind in {"", Payload.JSON_LINES, Answers.JSON}:
        return Answers.JSON
    if kind == Answers.REPR:
        return Answers.REPR
    raise invalid(
        f"Accept {written(accept)} is not one that text-to-text models answer in; they answer in"
        " application/json, application/jsonlines and text/csv"
    )


def _max_payload_bytes(job: Mapping[str, Any]) -> int:
    size, at_once = job.get("MaxPayloadInMB"), job.get("MaxConcurrentTransforms", 1) or 1
    if (size or 0) > MAX_PAYLOAD_MB or (size or DEFAULT_PAYLOAD_MB) * at_once > MAX_PAYLOAD_MB:
        raise invalid(
            f"MaxConcurrentTransforms ({at_once}) times MaxPayloadInMB"
            f" ({DEFAULT_PAYLOAD_MB if size is None else size}) must not exceed {MAX_PAYLOAD_MB} MB"
        )
    return (DEFAULT_PAYLOAD_MB if size is None else size) * MEBIBYTE


def _s3_uri(uri: str, where: str) -> str:
    match = _S3_URI.fullmatch(uri)
    if match is None:
        raise invalid(f"{where} must be s3://BUCKET/…, not {written(uri[:100])}")
    if "\x00" in uri or any(part in {".", ".."} for part in match[2].split("/")):
        raise invalid(f"{where}: {written(uri[:100])} has a part that no key may have here")
    return uri


def _on_error(text: str) -> OnError:
    try:
        return OnError(text)
    except ValueError:
        raise invalid(
            f"{ERROR_POLICY}={written(text[:50])} is none of: {', '.join(OnError)}"
        ) from None


def checked_hyper_params(text: str | None) -> str | None:
    """HYPER_PARAMS as it was given. What is wrong in it is said now, not at the first record."""
    if text is None or not text.strip():
        return None
    try:
        values = parse_hyper_params(text)
        Resolver([Layer(Origin.HYPER_PARAMS, values)], language_token_id=lambda _: 0)
    except TextmillError as error:
        hint = f" ({error.hint})" if error.hint else ""
        raise invalid(f"{HYPER_PARAMS}: {error.message}{hint}") from error
    return text


def _filters(job: Mapping[str, Any], payload: Payload, answers: Answers) -> Mapping[str, str]:
    """DataProcessing without what says nothing (`$`), checked by SageMaker's own rules."""
    said = {k: v for k, v in job.get("DataProcessing", {}).items() if v not in {"$", "None", ""}}
    if not said:
        return {}
    for name in ("InputFilter", "OutputFilter"):
        if name in said:
            _check_path(name, said[name])
    source, output = job["TransformInput"], job["TransformOutput"]
    given = media_type(source.get("ContentType")), media_type(output.get("Accept"))
    if given[0] != given[1] or payload is Payload.TEXT or answers is Answers.REPR:
        raise _mismatch(*given)
    lines = source.get("SplitType") == "Line" and output.get("AssembleWith") == "Line"
    if payload is Payload.JSON_LINES and not lines:
        raise invalid("DataProcessing of JSON Lines needs SplitType and AssembleWith to be Line")
    return said


def _check_path(name: str, path: str) -> None:
    try:
        parse_path(path)
    except TextmillError as error:
        raise invalid(f"DataProcessing.{name}: {error.message}") from error


def _mismatch(content_type: str, accept: str) -> AwsError:
    return invalid(
        "DataProcessing needs ContentType and Accept to be the same, application/jsonlines or"
        f" application/json, not {content_type or 'none'} and {accept or 'none'}"
    )
