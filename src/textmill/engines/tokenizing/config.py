"""What a model folder says about its tokenizer, read from its JSON files into one value.

Three generations of files say the same things: `tokenizer_config.json` alone (new), with
`special_tokens_map.json` and `added_tokens.json` beside it (old), and `tokenizer.json`, which
also holds the vocabulary. The order of precedence is that of transformers 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from textmill.errors import CorruptModel
from textmill.words import written

MAX_JSON_BYTES = 512 * 2**20

NAMED = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)
"""The special tokens that have a role, in the order in which missing ones get ids."""

SPECIAL = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "cls_token": "<s>",
    "mask_token": "<mask>",
}
"""Their usual texts."""

_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


class Added(Struct, frozen=True, kw_only=True):
    """A token that is found in text before anything else is done with it.

    lstrip, rstrip: it takes the spaces beside it along. normalized: it is looked for in the
    normalized text. special: it is left out when ids are turned back to text.
    """

    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False
    special: bool = True


class TokenizerConfig(Struct, frozen=True, kw_only=True):
    """Everything but the vocabulary.

    folder: where it was read. model_type: of config.json. tokenizer_class: without "Fast".
    options: the other entries of tokenizer_config.json.
    named: special tokens by role. extra: further special tokens, None when nothing was said.
    listed: tokens with the id that the files give them.
    """

    folder: Path
    model_type: str = ""
    tokenizer_class: str = ""
    options: Mapping[str, Any] = {}
    named: Mapping[str, Added] = {}
    extra: tuple[Added, ...] | None = None
    listed: Mapping[int, Added] = {}

    def option(self, name: str, kind: type[Any], default: Any) -> Any:
        """An entry of tokenizer_config.json; `default` when absent or null."""
        value = self.options.get(name)
        if value is None:
            return default
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise CorruptModel(
                f"{self.folder / 'tokenizer_config.json'}: {name} should be {kind.__name__}, "
                f"not {written(value)}"
            )
        return value


def read_json(path: Path) -> Any:
    """The file's JSON value. Raises `CorruptModel` when it is damaged or too big."""
    try:
        size = path.stat().st_size
        if size > MAX_JSON_BYTES:
            raise CorruptModel(f"{path}: {size} bytes, more than {MAX_JSON_BYTES}")
        return msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise CorruptModel(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CorruptModel(f"{path} is not JSON, or is damaged: {error}") from error


def read_object(path: Path, *, optional: bool = False) -> dict[str, Any]:
    """The file's JSON object; empty when it is `optional` and absent."""
    if optional and not path.is_file():
        return {}
    value = read_json(path)
    if not isinstance(value, dict):
        raise CorruptModel(f"{path} should hold a JSON object")
    return value


def read_config(folder: Path, file_tokens: Sequence[Any] = ()) -> TokenizerConfig:
    """Read the small JSON files of `folder`.

    file_tokens: the `added_tokens` of its tokenizer.json, if it has one.
    Raises `CorruptModel` for files that cannot be read or hold other types than they should.
    """
    model = read_object(folder / "config.json", optional=True)
    options = read_object(folder / "tokenizer_config.json", optional=True)
    name = options.pop("tokenizer_class", None) or model.get("tokenizer_class") or ""
    if not isinstance(name, str):
        raise CorruptModel(f"{folder}: tokenizer_class should be a name, not {written(name)}")
    try:
        named, extra, listed = _tokens(folder, options, file_tokens)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise CorruptModel(f"{folder}: its list of special tokens is damaged: {error}") from error
    return TokenizerConfig(
        folder=folder,
        model_type=str(model.get("model_type") or ""),
        tokenizer_class=name.removesuffix("Fast"),
        options=options,
        named=named,
        extra=extra,
        listed=listed,
    )


def _tokens(
    folder: Path, options: Mapping[str, Any], file_tokens: Sequence[Any]
) -> tuple[dict[str, Added], tuple[Added, ...] | None, dict[int, Added]]:
    """(named, extra, listed) as `TokenizerConfig` holds them."""
    merged = dict(options)
    if "additional_special_tokens" in merged and not merged.get("extra_special_tokens"):
        merged["extra_special_tokens"] = merged.pop("additional_special_tokens") or []
    if "added_tokens_decoder" in merged:
        listed = {int(i): _added(token) for i, token in merged["added_tokens_decoder"].items()}
    else:
        roles = read_object(folder / "special_tokens_map.json", optional=True)
        merged.update(roles)
        listed = _old_lists(folder, merged, file_tokens)
    by_content = {token.content: token for token in listed.values()}
    named = {role: by_content.get(token.content, token) for role, token in _named(merged).items()}
    return named, _extra(merged), listed


def _old_lists(
    folder: Path, merged: Mapping[str, Any], file_tokens: Sequence[Any]
) -> dict[int, Added]:
    special = {token.content for token in _named(merged).values()}
    special |= {token.content for token in _extra(merged) or ()}
    old = read_object(folder / "added_tokens.json", optional=True)
    listed = {
        int(i): Added(content=text, special=text in special, normalized=text not in special)
        for text, i in old.items()
    }
    for token in file_tokens:
        listed[int(token["id"])] = _added(token)
    return listed


def _named(merged: Mapping[str, Any]) -> dict[str, Added]:
    """Tokens with a role: the usual ones, then those that only this model has."""
    roles = [role for role in NAMED if isinstance(merged.get(role), str | dict)]
    roles += [
        role
        for role, value in merged.items()
        if role.endswith("_token") and role not in NAMED and isinstance(value, str)
    ]
    named = {role: _special(merged[role]) for role in roles}
    own = merged.get("extra_special_tokens")
    if isinstance(own, dict):
        named |= {role: _special(token) for role, token in own.items()}
    return named


def _extra(merged: Mapping[str, Any]) -> tuple[Added, ...] | None:
    extra = merged.get("extra_special_tokens")
    if isinstance(extra, dict):
        extra = []
    if extra is None:
        extra = merged.get("additional_special_tokens")
    return None if extra is None else tuple(_special(token) for token in extra)


def _special(token: str | Mapping[str, Any]) -> Added:
    if isinstance(token, str):
        return Added(content=token)
    return _added({**token, "special": True})


def _added(token: Mapping[str, Any]) -> Added:
    """A token written as an object. A flag that is left out is off; special decides normalized."""
    content = token["content"]
    if not isinstance(content, str):
        raise TypeError(f"{written(content)} is not a text")
    flags = {flag: bool(token.get(flag, False)) for flag in _FLAGS}
    flags["normalized"] = bool(token.get("normalized", not flags["special"]))
    return Added(content=content, **flags)


def fill_roles(config: TokenizerConfig, *roles: str, **defaults: str | Added) -> dict[str, Added]:
    """The folder's special tokens, with the class's own for the `roles` that it leaves out.

    defaults: a class's own text for a role, or its token where more than the text differs.
    """
    filled = dict(config.named)
    for role in roles:
        default = defaults.get(role, SPECIAL[role])
        template = default if isinstance(default, Added) else Added(content=default)
        given = config.named.get(role, template)
        plain = given == Added(content=given.content)
        filled[role] = msgspec.structs.replace(template, content=given.content) if plain else given
    order = [*NAMED, *(role for role in filled if role not in NAMED)]
    return {role: filled[role] for role in order if role in filled}
