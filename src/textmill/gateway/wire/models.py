"""botocore's service models: which operations there are, and the shapes of what they take."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from textmill.gateway.wire.faults import AwsError
from textmill.words import written

SAGEMAKER, RUNTIME, LOGS = "sagemaker", "sagemaker-runtime", "logs"
STS, IAM = "sts", "iam"

Shape = Any
"""A shape of botocore's, which has no types."""


@cache
def service(name: str) -> Any:
    """A service's model, from botocore's own data: nothing in the home folder changes it."""
    from botocore.loaders import Loader
    from botocore.model import ServiceModel

    loader = Loader(
        extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False
    )
    return ServiceModel(loader.load_service_model(name, "service-2"), name)


@cache
def operation(service_name: str, name: str) -> Any:
    """An operation's model. Raises `AwsError` if the service has none of that name."""
    try:
        return service(service_name).operation_model(name)
    except Exception as error:  # botocore's class of it is private
        raise AwsError(
            "UnknownOperationException", f"there is no operation {written(name)}"
        ) from error


@cache
def pattern(text: str) -> re.Pattern[str]:
    """A model's pattern, which is Java's, as Python's."""
    for java, python in _JAVA:
        text = text.replace(java, python)
    return re.compile(text)


_JAVA = (
    (r"\p{ASCII}", r"[\x00-\x7f]"),
    (r"\p{Print}", r"\x20-\x7e"),
    (r"\p{L}\p{Z}\p{N}", r"\w\s"),
    (r"\z", r"\Z"),
)
