"""From an address to an engine: which model, and whether the key may travel there."""

from __future__ import annotations

import msgspec

from textmill.engines.bytes_tokenizer import ByteTokenizer
from textmill.engines.loading import LoadedModel
from textmill.engines.openai_api.address import ServerAddress, parse_address
from textmill.engines.openai_api.background import Background
from textmill.engines.openai_api.client import Client
from textmill.engines.openai_api.conversation import Conversation, ServerOptions, printable
from textmill.engines.openai_api.engine import OpenAIEngine
from textmill.engines.openai_api.verdicts import Fate, Reply, Trouble, judge
from textmill.engines.openai_api.wire import read_models
from textmill.errors import EngineUnavailable, ModelError, ModelNotFound, UsageError

_MAX_NAME_CHARS = 200
_MAX_LISTED = 20


def open_server(
    text: str,
    options: ServerOptions,
    *,
    key_over_http: bool = False,
    offline: bool = False,
) -> LoadedModel:
    """Ask the server at an address which model it has, and make an engine of it.

    key_over_http: the key may be sent unencrypted to another machine.
    offline: refuse other machines.
    Raises `UsageError` for an address or key that cannot be used and for a model that has to be
    named, `ModelError` when the server refuses, `EngineUnavailable` when it is away or too busy.
    """
    address = parse_address(text)
    _check_network(address, offline=offline)
    _check_key(address, options.api_key, over_http=key_over_http)
    client = Client(
        address,
        api_key=options.api_key,
        timeout_s=options.timeout_s,
        connections=options.concurrency,
    )
    background = Background()
    try:
        # Asked in any case: it shows whether the server is there.
        model = _chosen(address, background.start(client.models()).result(), options.api_key)
    except BaseException:
        background.close(client.close())
        raise
    conversation = Conversation(client, address, model, options)
    engine = OpenAIEngine(conversation, background, concurrency=options.concurrency)
    return LoadedModel(
        checkpoint=None,
        tokenizer=ByteTokenizer(),
        engine=engine,
        name=model,
        source=address.url,
    )


def _check_network(address: ServerAddress, *, offline: bool) -> None:
    if offline and not address.loopback:
        raise UsageError(
            f"{address.base} is on the network, and the network is not to be used (--offline)",
            hint="leave --offline and TEXTMILL_OFFLINE out to use a server",
        )


def _check_key(address: ServerAddress, key: str | None, *, over_http: bool) -> None:
    if key is None:
        return
    if not all("!" <= character <= "~" for character in key):
        raise UsageError(
            "the API key holds characters that no key has",
            hint="OPENAI_API_KEY or the key file should hold the key and nothing else",
        )
    if not (address.encrypted or address.loopback or over_http):
        raise UsageError(
            f"{address.base} is not encrypted, so everyone on the way could read the API key",
            hint="use https; or unset OPENAI_API_KEY if the server wants no key; or allow it with"
            " --api-key-over-http",
        )


_PASSING = frozenset({Fate.AGAIN, Fate.HOLD})
_AWAY = (
    "is the address right, and is the server running? Once it is, run the same line again: finished"
    " rows are kept"
)
_NAME_IT = "name the model: --model ADDRESS#model-name"


def _chosen(address: ServerAddress, answer: Reply | Trouble, key: str | None) -> str:
    """The model that was named, or the only one that the server lists."""
    verdict = judge(answer)
    message = printable(verdict.message, key)
    if isinstance(answer, Trouble):
        if verdict.fate in _PASSING:
            raise EngineUnavailable(f"{address.base}: {message}", hint=_AWAY)
        raise ModelError(f"{address.base}: {message}", hint=verdict.hint)
    if verdict.fate is Fate.STOP and answer.status != 404:
        raise ModelError(f"{address.base}: {message}", hint=verdict.hint)
    if address.model is not None:
        return address.model  # not every server lists its models, or all names they answer to
    if verdict.fate in _PASSING:
        raise EngineUnavailable(f"{address.base}/models: {message}", hint=_AWAY)
    if verdict.fate is not Fate.READ:
        raise ModelError(
            f"{address.base}/models: {message}",
            hint=f"most addresses end in /v1; if this server lists no models, {_NAME_IT}",
        )
    return _only_model(address, answer)


def _only_model(address: ServerAddress, answer: Reply) -> str:
    try:
        names = read_models(answer.body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ModelError(f"{address.base}/models is no list of models", hint=_NAME_IT) from error
    if not all(name.isprintable() and 0 < len(name) <= _MAX_NAME_CHARS for name in names):
        raise ModelError(f"{address.base}/models has names that cannot be used", hint=_NAME_IT)
    if not names:
        raise ModelNotFound(f"{address.base} has no model loaded")
    if len(names) > 1:
        listed = ", ".join(names[:_MAX_LISTED]) + (", …" if len(names) > _MAX_LISTED else "")
        raise UsageError(f"{address.base} has several models: {listed}", hint=_NAME_IT)
    return names[0]
