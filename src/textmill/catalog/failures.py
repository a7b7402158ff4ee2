"""What it means for the user when a hub says no: foreign errors to ours, with the way out."""

from __future__ import annotations

import errno

from textmill.catalog.entries import near_names
from textmill.errors import ModelError, ModelNotFound
from textmill.words import written

DATASETS = "datasets/"
"""What a repository's name begins with here, as in the hub's addresses, when it holds data."""
AGAIN = "Run the same line again; what has arrived is kept and the download goes on from there."


def explain(error: Exception, address: str, repository: str, revision: str) -> ModelError:
    """The error to raise for one that came out of huggingface_hub or the network below it."""
    from huggingface_hub import errors

    what = f"{repository}@{revision}"
    match error:
        case errors.OfflineModeIsEnabled():
            found: ModelError = offline(repository, revision)
        case errors.HfHubHTTPError():
            found = _refused(error, address, repository, what)
        case errors.HFValidationError():
            found = ModelNotFound(f"{written(repository)} is not a repository name: {_line(error)}")
        case errors.FileMetadataError() | ValueError() | TypeError() | KeyError():
            found = ModelError(
                f"{address} does not answer like a model hub: {_line(error)}",
                hint="Check HF_ENDPOINT, and whether a proxy or login page stands in between.",
            )
        case OSError(errno=int()):
            found = disk(error)
        case OSError():
            # http_get's own word for a file that is shorter or longer than announced.
            found = ModelError(f"{what}: the transfer ended early: {_line(error)}", hint=AGAIN)
        case _:
            found = ModelError(
                f"{address} cannot be reached, or the connection broke: {_line(error)}",
                hint=f"{AGAIN} Behind a proxy, set HTTPS_PROXY; without a network, use --offline.",
            )
    return found


def _refused(error: Exception, address: str, repository: str, what: str) -> ModelError:
    """For answers with an HTTP status that is not a success."""
    from huggingface_hub import errors

    status = getattr(getattr(error, "response", None), "status_code", 0)
    match error:
        case errors.GatedRepoError():
            return ModelError(
                f"{repository} is gated: its authors want to know who uses it ({status})",
                hint=f"Ask for access at {address}/{repository}, then set HF_TOKEN to your token.",
            )
        case errors.RevisionNotFoundError():
            return ModelNotFound(
                f"{what}: the repository has no such revision",
                hint=f"See the branches and tags at {address}/{repository}, or leave it out.",
            )
        case errors.RepositoryNotFoundError():
            return not_found(address, repository, status)
    return _by_status(error, status, address, repository, what)


def _by_status(
    error: Exception, status: int, address: str, repository: str, what: str
) -> ModelError:
    if status == 401:
        # Also the answer for what does not exist, as long as the hub does not know the asker.
        return not_found(address, repository, status)
    if status == 403:
        return ModelError(
            f"{address} refuses {repository} to this user (403)",
            hint=f"Check HF_TOKEN and your access at {address}/{repository}.",
        )
    if status == 404:
        return ModelNotFound(f"{what}: {_line(error)}", hint="Check the name and HF_ENDPOINT.")
    return ModelError(f"{address} answered {status} for {what}: {_line(error)}", hint=AGAIN)


def not_found(address: str, repository: str, status: int) -> ModelNotFound:
    """No such repository, as far as the asker may know."""
    close = () if repository.startswith(DATASETS) else near_names(repository)
    near = f"Near names: {', '.join(close)}. " if close else ""
    reason = "is not there, or not for this user (401)" if status == 401 else "is not there"
    return ModelNotFound(
        f"{repository} {reason}: {address}",
        hint=f"Check the spelling. {near}If it is private or gated, set HF_TOKEN to a token "
        "that may read it.",
    )


def offline(repository: str, revision: str) -> ModelNotFound:
    """Not in the cache, and the network must not be used."""
    what = f"{repository}@{revision}"
    if repository.startswith(DATASETS):
        way, other = "the same line without --offline", "files"
    else:
        way, other = f"textmill models fetch {what}", "a model folder"
    return ModelNotFound(
        f"{what} is not in the cache, and this is offline mode",
        hint=f"With a network: {way} (copy the cache over if the network is on another machine), "
        f"or name {other}.",
    )


def disk(error: OSError) -> ModelError:
    """The cache's disk does not do what it should."""
    where = f" {error.filename}" if error.filename else ""
    full = error.errno in {errno.ENOSPC, errno.EDQUOT}
    return ModelError(
        f"the cache cannot be written:{where} {error.strerror}",
        hint="Free some space, or set TEXTMILL_HOME to a folder on another disk."
        if full
        else "Check the folder's rights, or set TEXTMILL_HOME to another folder.",
    )


def _line(error: Exception) -> str:
    """An error's first line of text, or its type when it has none."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
