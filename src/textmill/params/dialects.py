"""How others write parameters: HYPER_PARAMS, `--set`, JumpStart payloads, a model's own files.

Each function returns plain values by the names that users write, still unchecked: they become a
`Layer`, and the `Resolver` checks every layer in the same way.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from textmill.params.foreign import REFUSED
from textmill.params.literals import Unreadable, read_dict
from textmill.params.refusal import refusal
from textmill.params.schema import BY_NAME, OWN_NAMES, user_parameter

PAYLOAD_FIELDS = frozenset({"id", "text_inputs"})
"""What a JumpStart payload holds besides parameters."""

_JUMPSTART_HINT = (
    "write a dict of parameters as JSON or as Python's str() gives it; "
    "leave HYPER_PARAMS unset to let records use their own"
)


def parse_hyper_params(text: str) -> dict[str, Any]:
    """The parameters in HYPER_PARAMS: a JSON object, or a Python dict as `str()` writes it.

    At most 10,240 characters, nested at most 8 deep, each key once. Nothing in it is evaluated.
    Raises `ParameterError`.
    """
    try:
        return read_dict(text)
    except Unreadable as error:
        raise refusal("HYPER_PARAMS", text, str(error), hint=_JUMPSTART_HINT) from None


def parse_setting(text: str) -> tuple[str, Any]:
    """Name and value of one `--set name=value`, read as the parameter's type asks.

    Texts are taken as they stand (`stop=foo`); a JSON string or list may be given where escapes
    or several are wanted (`stop=["\\n", "END"]`). All else is JSON, and flags may also be written
    True and False; null and None mean null. Raises `ParameterError` for an unknown name or a text
    without `=`.
    """
    name, equals, value = text.partition("=")
    name = name.strip()
    if not equals or not name:
        raise refusal("--set", text, "must be name=value, as in --set max_new_tokens=50")
    written = user_parameter(name, _json_or_text(value)).domain.written
    if value in ("null", "None"):
        return name, None
    if written == "text":
        return name, _text_value(name, value)
    if written == "flag":
        return name, {"true": True, "false": False}.get(value.strip().lower(), value)
    return name, _json_or_text(value)


def parse_settings(texts: Iterable[str]) -> dict[str, Any]:
    """All `--set` of one command line. Raises `ParameterError` for a name given twice."""
    found: dict[str, Any] = {}
    for text in texts:
        name, value = parse_setting(text)
        if name in found:
            raise refusal(name, value, "is set twice on the command line")
        found[name] = value
    return found


def payload_parameters(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a JumpStart payload: everything but `text_inputs` and `id`.

    JumpStart's names are transformers' names, and ours; `num_new_tokens` is an alias.
    """
    return {name: value for name, value in payload.items() if name not in PAYLOAD_FIELDS}


def model_parameters(
    generation_config: Mapping[str, Any] | None, config: Mapping[str, Any]
) -> dict[str, Any]:
    """What a model's own files say about generation, for the layer "model".

    generation_config.json decides where it exists; older models say it in config.json, whose
    generation keys are taken then. `max_length=20` there is not a wish but the default that old
    versions of transformers wrote into every file, so it is not taken.
    """
    if generation_config is not None:
        return dict(generation_config)
    names = (BY_NAME.keys() - OWN_NAMES) | REFUSED.keys()
    found = {name: value for name, value in config.items() if name in names}
    if found.get("max_length") == 20:
        del found["max_length"]
    if config.get("force_bos_token_to_be_generated") is True:
        found.setdefault("forced_bos_token_id", config.get("bos_token_id"))
    return found


def _json_or_text(value: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _text_value(name: str, value: str) -> Any:
    if not value.lstrip().startswith(('"', '["', "[]")):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        rule = f"looks like JSON but is not: {error}"
        raise refusal(
            name, value, rule, hint="to give a text as it stands, quote it as JSON"
        ) from None
