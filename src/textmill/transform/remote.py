"""A server as the model: which flags belong to it, and how it is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textmill.engines.loading import LoadedModel
from textmill.engines.openai_api.address import is_address
from textmill.errors import UsageError
from textmill.storage.keys import read_key_file

if TYPE_CHECKING:
    from textmill.transform.setup import SetupRequest

ENGINE = "openai"
ECHO = "echo"
MAX_CONCURRENCY = 1024

_FOR_SERVERS = {
    "concurrency": None,
    "api_key_file": None,
    "api_key_over_http": False,
}
_FOR_LOCAL_MODELS = {
    "precision": "auto",
    "threads": None,
    "max_batch_tokens": None,
    "max_input_tokens": None,
    "truncate": False,
}


def is_remote(request: SetupRequest) -> bool:
    """Whether a server computes. The echo engine needs no model, so it asks nobody."""
    return is_address(request.model) and request.engine != ECHO


def check_flags(request: SetupRequest) -> None:
    """Refuse flags that would have no effect, and numbers that cannot be. Raises `UsageError`."""
    if is_remote(request):
        _check_remote(request)
        return
    if request.engine == ECHO and request.model is not None:
        raise UsageError(
            f"the echo engine answers each text with itself, so it cannot use the model"
            f" {request.model}",
            hint="leave --engine out to run the model, or --model to try a job without one",
        )
    if request.engine == ENGINE:
        raise UsageError(
            "the openai engine needs the address of a server as model",
            hint="for example --model http://127.0.0.1:8000/v1",
        )
    for name, neutral in _FOR_SERVERS.items():
        if getattr(request, name) != neutral:
            raise UsageError(
                f"--{name.replace('_', '-')} is for servers, and the model is none",
                hint="a server's address begins with http:// or https://",
            )


def _check_remote(request: SetupRequest) -> None:
    if request.engine not in {"auto", ENGINE}:
        raise UsageError(
            f"the {request.engine} engine cannot use a server",
            hint="leave --engine out, or name a model that is not an address",
        )
    for name, neutral in _FOR_LOCAL_MODELS.items():
        if getattr(request, name) != neutral:
            raise UsageError(
                f"--{name.replace('_', '-')} is for models on this machine: a server decides by"
                " itself",
                hint="leave it out",
            )
    if (request.concurrency or 1) > MAX_CONCURRENCY:
        raise UsageError(f"concurrency={request.concurrency}: must be at most {MAX_CONCURRENCY:,}")


def open_remote(request: SetupRequest) -> LoadedModel:
    """Open the server. Raises what `open_server` raises."""
    from textmill.engines.openai_api.conversation import ServerOptions
    from textmill.engines.openai_api.opening import open_server

    file, default = request.api_key_file, ServerOptions()
    options = ServerOptions(
        api_key=request.api_key if file is None else read_key_file(file),
        concurrency=request.concurrency or default.concurrency,
        timeout_s=request.timeout or None,
    )
    return open_server(
        str(request.model),
        options,
        key_over_http=request.api_key_over_http,
        offline=request.offline,
    )
