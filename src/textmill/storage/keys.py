"""Files that hold keys: read whole, never shown."""

from __future__ import annotations

from pathlib import Path

from textmill.errors import UsageError
from textmill.storage.base import input_errors

_MAX_FILE_BYTES = 1 << 20
_MAX_KEY_BYTES = 4096


def key_file_text(path: str | Path) -> str:
    """All that a key file says. Raises `UsageError` if it cannot be read."""
    with input_errors(f"the key file {path}"), Path(path).open("rb") as file:
        data = file.read(_MAX_FILE_BYTES + 1)
    if len(data) > _MAX_FILE_BYTES:
        raise UsageError(f"the key file {path} holds no key: it is over 1 MiB")
    try:
        return data.decode("utf-8-sig")  # editors on Windows begin a file with a mark
    except UnicodeDecodeError as error:
        raise UsageError(f"the key file {path} holds no key: it is no text in UTF-8") from error


def read_key_file(path: str | Path) -> str:
    """The one key in a file, blanks around it left out. Raises `UsageError`."""
    key = key_file_text(path).strip()
    if (lines := len(key.splitlines())) > 1:
        raise UsageError(
            f"the key file {path} has {lines} lines; which is the key?",
            hint="one line with the key",
        )
    is_one = all("!" <= character <= "~" for character in key)
    if not key or len(key) > _MAX_KEY_BYTES or not is_one:
        raise UsageError(f"the key file {path} holds no key", hint="one line with the key")
    return key
