"""Media types: what a body is, and what a client accepts. Pure."""

from __future__ import annotations

from textmill.serving.refusals import Code, Refused
from textmill.words import written

JSON, LINES, CSV, TEXT = "application/json", "application/jsonlines", "text/csv", "text/plain"

_ALIASES = {
    "application/x-text": TEXT,
    "application/x-www-form-urlencoded": JSON,  # what curl -d says when it is told nothing
    "application/x-jsonlines": LINES,
    "application/jsonl": LINES,
    "application/x-ndjson": LINES,
    "application/ndjson": LINES,
}
_ANSWERS = (JSON, LINES, CSV)


def media_type(header: str | None, default: str) -> str:
    """The type of a header, in lower case, without parameters; aliases by their main name."""
    name = (header or "").partition(";")[0].strip().lower()
    return _ALIASES.get(name, name) or default


def accepted(header: str | None) -> str:
    """The type to answer in: of those that `Accept` names, the first one of the highest quality.

    Parameters such as JumpStart's `;verbose` change nothing. Raises `Refused`.
    """
    if header is None or not header.strip():
        return JSON
    ranges = sorted(map(_quality, header.split(",")), key=lambda pair: -pair[0])
    for quality, name in ranges:
        if quality <= 0:
            continue
        if name in ("*/*", "application/*"):
            return JSON
        if name == "text/*":
            return CSV
        if name in _ANSWERS:
            return name
    raise Refused(
        Code.NOT_ACCEPTABLE,
        f"cannot answer in {written(header, 100)}; accept application/json,"
        " application/jsonlines or text/csv",
    )


def _quality(part: str) -> tuple[float, str]:
    name, *parameters = (piece.strip().lower() for piece in part.split(";"))
    quality = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                quality = 0.0
    return quality, _ALIASES.get(name, name)
