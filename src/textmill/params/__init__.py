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
from textmill.params.precedence import Layer, Resolver
from textmill.params.schema import PARAMETERS, USER_NAMES, Parameter, check

__all__ = [
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
