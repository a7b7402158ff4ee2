"""How a server wants to be asked: SageMaker's, OpenAI's or KServe's way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from textmill.errors import UsageError
from textmill.serving.load.wire import Client, Target

_encode = msgspec.json.Encoder().encode

Body = Callable[[str], bytes]


class Dialect(Struct, frozen=True, kw_only=True):
    """A way to ask. path: None where the URL says it. body: of one text."""

    name: str
    path: str
    body: Body


def invocations(parameters: Mapping[str, Any], path: str = "/invocations") -> Dialect:
    """SageMaker's containers."""
    return Dialect(
        name="invocations",
        path=path,
        body=lambda text: _encode({"text_inputs": text, **parameters}),
    )


def completions(model: str, parameters: Mapping[str, Any], path: str) -> Dialect:
    """OpenAI's completions; lengths are said in its words."""
    said = {_OPENAI.get(name, name): value for name, value in parameters.items()}
    return Dialect(
        name="completions",
        path=path,
        body=lambda text: _encode({"model": model, "prompt": text, **said}),
    )


def kserve(path: str, parameters: Mapping[str, Any]) -> Dialect:
    """The Open Inference Protocol."""

    def body(text: str) -> bytes:
        tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}
        return _encode({"inputs": [tensor], "parameters": dict(parameters)})

    return Dialect(name="infer", path=path, body=body)


_OPENAI = {"max_new_tokens": "max_tokens", "num_return_sequences": "n"}


async def detect(url: str, key: str | None, parameters: Mapping[str, Any]) -> Dialect:
    """The dialect of a server: its path says it, or the server does. Raises `UsageError`."""
    target = Target.of(url, key=key)
    path = target.path
    if path.endswith("/invocations"):
        return invocations(parameters, path)
    if path.endswith("/infer"):
        return kserve(path, parameters)
    if path.rstrip("/") not in ("", "/v1") and not path.endswith("/completions"):
        raise UsageError(
            f"nobody knows how to ask {url}",
            hint="end it in /invocations, /v1/completions or /v2/models/NAME/infer",
        )
    client = Client(target)
    try:
        if path in ("", "/") and (await client.get("/ping")).status == 200:
            return invocations(parameters)
        listed = await client.get("/v1/models")
        model = msgspec.json.decode(listed.body)["data"][0]["id"] if listed.status == 200 else ""
        return completions(model, parameters, "/v1/completions")
    except (OSError, EOFError, msgspec.MsgspecError, LookupError, TypeError) as error:
        raise UsageError(f"{url} does not answer: {error}") from error
    finally:
        await client.close()
