"""Makes the SageMaker SDK v2 honour AWS_ENDPOINT_URL everywhere; for a notebook's PYTHONPATH.

Python imports this when it starts. The SDK asks STS who it is at an address that it makes up from
the region, whatever the environment says, and reports each deploy to an address of Amazon's. With
this, the first goes to the endpoint of the environment, and the second nowhere. Nothing else is
changed, and nothing without AWS_ENDPOINT_URL; sagemaker is not imported unless the notebook does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any


def _sts(module: ModuleType) -> None:
    made_up: Callable[[str], str] = getattr(module, "sts_regional_endpoint")  # noqa: B009

    def endpoint(region: str) -> str:
        url = os.environ.get("AWS_ENDPOINT_URL_STS") or os.environ.get("AWS_ENDPOINT_URL")
        return url or made_up(region)

    setattr(module, "sts_regional_endpoint", endpoint)  # noqa: B010


def _telemetry(module: ModuleType) -> None:
    report: Callable[..., Any] = getattr(module, "_requests_helper")  # noqa: B009

    def stay(*arguments: Any, **named: Any) -> Any:
        return None if os.environ.get("AWS_ENDPOINT_URL") else report(*arguments, **named)

    setattr(module, "_requests_helper", stay)  # noqa: B010


_CHANGES = {
    "sagemaker.session": _sts,
    "sagemaker.telemetry.telemetry_logging": _telemetry,
}


class _Finder(MetaPathFinder):
    """Finds two modules as ever, and has their loaders change them afterwards."""

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        change = _CHANGES.pop(name, None)
        if change is None:
            return None
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Changed(spec.loader, change)
        return spec


class _Changed(Loader):
    """A loader, and a change after it."""

    def __init__(self, loader: Loader, change: Callable[[ModuleType], None]) -> None:
        self._loader, self._change = loader, change

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._change(module)


def _next_one() -> None:
    """Run the sitecustomize that this one has hidden, if there is one."""
    here = Path(__file__).parent
    others = [entry for entry in sys.path if Path(entry or ".").resolve() != here.resolve()]
    spec = PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(module_from_spec(spec))


sys.meta_path.insert(0, _Finder())
_next_one()
