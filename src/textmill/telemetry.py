"""Versions of what computed, in one place: they go into every manifest."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

_LIBRARIES = (
    "ctranslate2",
    "huggingface_hub",
    "msgspec",
    "numpy",
    "openvino",
    "pyarrow",
    "tokenizers",
    "zstandard",
)


def versions() -> dict[str, str]:
    """Versions of textmill, Python, the platform and the libraries a result may depend on."""
    found = {"textmill": _version("textmill"), "python": platform.python_version()}
    found |= {name: _version(name) for name in _LIBRARIES}
    found["platform"] = f"{sys.platform} {platform.machine()}"
    return found


def versions_of(*packages: str) -> dict[str, str]:
    """Versions of some packages."""
    return {package: _version(package) for package in packages}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        from textmill import __version__

        return __version__ if package == "textmill" else "not installed"
