"""Generation parameters: one schema, one precedence rule, the dialects that name them.

`Resolver` is the way in: give it the layers of a job, ask it for each record's `core.Params`.
"""

from __future__ import annotations

from textmill.params.combinations import Origin
from textmill.params.dialects import (
    model_parameters,
    parse_hyper_params,
    parse_setting,
    parse_settings,
    payload_parameters,
)
from textmill.params.foreign import REFUSED
from textmill.params.precedence import Layer, Resolver
from textmill.params.schema import BY_NAME, PARAMETERS, USER_NAMES, Parameter, check

KNOWN_NAMES: frozenset[str] = frozenset(BY_NAME) | REFUSED.keys()
"""Every name that means a parameter to transformers: used in a record, it is one, or is refused."""

__all__ = [
    "KNOWN_NAMES",
    "PARAMETERS",
    "USER_NAMES",
    "Layer",
    "Origin",
    "Parameter",
    "Resolver",
    "check",
    "model_parameters",
    "parse_hyper_params",
    "parse_setting",
    "parse_settings",
    "payload_parameters",
]
