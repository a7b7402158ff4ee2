"""Which layer's value wins: record > command line > HYPER_PARAMS > catalog > model > default.

A layer holds only what was said in it; what it does not hold is not said, which is not the same
as null. `max_length` and `max_new_tokens` are one field said in two ways, and the nearer layer
wins whichever way it says it; so are `tgt_lang` and `forced_bos_token_id`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import UNSET, Struct
from msgspec.msgpack import Encoder

from textmill.core import Params
from textmill.errors import ParameterError, UnsupportedParameter
from textmill.params.combinations import Combined, Fields, Origin, Said, combine
from textmill.params.foreign import PASSED_OVER, REFUSED
from textmill.params.refusal import refusal, shown_name
from textmill.params.schema import BY_NAME, OWN_NAMES, PARAMETERS, Parameter, user_parameter

LanguageTokenId = Callable[[str], int]
"""Token id of a language. Raises `ParameterError` for one that the model does not know."""

_MAX_CACHED = 4096


class Layer(Struct, frozen=True):
    """What one place says about generation.

    origin: one of `Origin`: "default", "model", "catalog", "HYPER_PARAMS", "command", "record".
    values: parameters by the names that users write, unchecked.
    """

    origin: str
    values: Mapping[str, Any]


class Resolver:
    """Resolves the parameters of a job, and of each record of it.

    All layers are checked at once: what is wrong in them raises `ParameterError` here, before any
    work. Layers may be given in any order; of two with one origin the later one wins.

    base: parameters of a record that carries none.
    notes: sentences about values without effect; records may add to them, each sentence once.
    records_ignored: how many records carried parameters that HYPER_PARAMS overruled.
    """

    def __init__(
        self,
        layers: Iterable[Layer],
        *,
        record_params_ignored: bool = False,
        language_token_id: LanguageTokenId | None = None,
    ) -> None:
        """`record_params_ignored`: JumpStart's rule where a job has HYPER_PARAMS."""
        self.record_params_ignored = record_params_ignored
        self.records_ignored = 0
        self._language_token_id = language_token_id
        self._notes: dict[str, None] = {}
        self._fields = self._merge(layers)
        self.base: Params = self._noted(combine(self._fields))
        self._cache: dict[bytes, Params] = {}
        self._cache_key = Encoder().encode

    def for_record(self, raw: Mapping[str, Any] | None) -> Params:
        """Parameters of a record that carries `raw`. Raises `ParameterError`.

        What a record says once is resolved once: equal `raw` gives the same object from a cache.
        """
        if not raw:
            return self.base
        if self.record_params_ignored:
            self.records_ignored += 1
            return self.base
        try:
            key = self._cache_key(raw)
        except (TypeError, ValueError, OverflowError, RecursionError):
            return self._resolve(raw)
        found = self._cache.get(key)
        if found is None:
            found = self._resolve(raw)
            if len(self._cache) >= _MAX_CACHED:
                self._cache.clear()
            self._cache[key] = found
        return found

    @property
    def notes(self) -> tuple[str, ...]:
        """What has no effect, was passed over or gave way, in the order it was met."""
        return tuple(self._notes)

    @property
    def provenance(self) -> Mapping[str, tuple[Any, str]]:
        """For the manifest: every parameter under the name it was given, its value and origin."""
        return {said.name: (said.given, str(said.origin)) for said in self._fields.values()}

    def _resolve(self, raw: Mapping[str, Any]) -> Params:
        said = _read_user_layer(raw, Origin.RECORD, self._language_token_id)
        return self._noted(combine({**self._fields, **said}))

    def _merge(self, layers: Iterable[Layer]) -> Fields:
        order = tuple(Origin)
        fields = dict(_DEFAULTS)
        for origin, layer in sorted(
            ((Origin(layer.origin), layer) for layer in layers),
            key=lambda pair: order.index(pair[0]),
        ):
            if origin is Origin.MODEL:
                said, notes = _read_model_layer(layer.values)
                self._notes.update(dict.fromkeys(notes))
            else:
                said = _read_user_layer(layer.values, origin, self._language_token_id)
            fields.update(said)
        return fields

    def _noted(self, combined: Combined) -> Params:
        self._notes.update(dict.fromkeys(combined.notes))
        return combined.params


def _read_user_layer(
    values: Mapping[str, Any], origin: Origin, language_token_id: LanguageTokenId | None
) -> dict[str, Said]:
    """Check a layer that holds names users write. One field may be said once in a layer."""
    said: dict[str, Said] = {}
    try:
        for name, given in values.items():
            parameter = user_parameter(name, given)
            value = _field_value(parameter, name, given, language_token_id)
            field = parameter.field
            if field in said:
                rule = f"cannot be given together with {said[field].name}"
                raise refusal(name, given, rule, hint="give one of them")
            if field is not None:
                said[field] = Said(value, given, name, origin)
    except ParameterError as error:
        raise _located(error, origin) from None
    return said


def _read_model_layer(values: Mapping[str, Any]) -> tuple[dict[str, Said], tuple[str, ...]]:
    """Check a model's generation config: null is not said, unknown keys mean nothing to anyone.

    Where it says a field twice, the name that transformers prefers wins.
    """
    said: dict[str, Said] = {}
    unknown = []
    try:
        for name in sorted(values, key=_model_order):
            given = values[name]
            parameter = BY_NAME.get(name) if name not in OWN_NAMES else None
            if given is None or name in PASSED_OVER:
                continue
            if name in REFUSED:
                _check_neutral(name, given)
            elif parameter is None:
                unknown.append(shown_name(name))
            else:
                value = _field_value(parameter, name, given, None)
                said[parameter.field or name] = Said(value, given, name, Origin.MODEL)
    except ParameterError as error:
        raise _located(error, Origin.MODEL) from None
    start = said.pop("bos_token_id", None)
    said.pop("pad_token_id", None)
    if start is not None:
        said.setdefault("decoder_start_token_id", start)
    return said, _unknown_note(unknown)


def _model_order(name: str) -> tuple[bool, str]:
    """Ways of saying a field that count the start token come first, so the other way wins."""
    parameter = BY_NAME.get(name)
    return (not (parameter and parameter.counts_start), name)


def _unknown_note(names: list[str]) -> tuple[str, ...]:
    if not names:
        return ()
    listed = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
    return (f"passed over in the model's generation config, unknown to generate too: {listed}",)


def _check_neutral(name: str, given: object) -> None:
    refused = REFUSED[name]
    if not refused.is_neutral(given):
        raise refusal(
            name,
            given,
            f"textmill does not have this parameter of transformers ({refused.what})",
            hint="without it the model's texts would differ from what its publisher intended; "
            "remove it from generation_config.json to run the model all the same",
            kind=UnsupportedParameter,
        )


def _field_value(
    parameter: Parameter, name: str, given: object, language_token_id: LanguageTokenId | None
) -> Any:
    """The checked value as the field of `core.Params` holds it."""
    value = parameter.read(name, given)
    if value is None:
        return _DEFAULTS[parameter.field].value if parameter.field else None
    if parameter.counts_start:
        return max(value - 1, 0)
    if parameter.name == "tgt_lang":
        if language_token_id is None:
            rule = "this model has no language tokens"
            hint = "say the language in the prompt, if the model takes it there"
            raise refusal(name, given, rule, hint=hint, kind=UnsupportedParameter)
        return language_token_id(value)
    return value


def _located(error: ParameterError, origin: Origin) -> ParameterError:
    """The same error, saying which layer it comes from; a record's errors name the record."""
    if origin is Origin.RECORD:
        return error
    rule = f"{error.rule}; set by {origin.label}"
    return type(error)(error.name, error.value, rule, hint=error.hint)


_DEFAULTS: dict[str, Said] = {
    row.field: Said(row.default, row.default, row.name, Origin.DEFAULT)
    for row in PARAMETERS
    if row.field is not None and row.default is not UNSET
}
