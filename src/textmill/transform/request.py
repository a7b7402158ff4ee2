"""One job as it was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from textmill.errors import UsageError
from textmill.records.shape import ORDINAL_ID
from textmill.records.split import parse_shard
from textmill.storage.connecting import StoreOptions
from textmill.transform.arguments import check_types
from textmill.transform.inputs import ReadOptions
from textmill.transform.plan import check_sample
from textmill.transform.setup import SetupRequest


class JobRequest(Struct, frozen=True, kw_only=True):
    """One job as it was asked for. `textmill.run` documents the fields."""

    inputs: Any
    output: str | Path
    setup: SetupRequest
    input_format: str = "auto"
    format: str = "auto"
    output_filter: str | None = None
    shard: str | None = None
    sample: int | None = None
    max_errors: str | int | None = None
    fresh: bool = False
    retry_failed: bool = False
    stores: StoreOptions = StoreOptions()
    command: Sequence[str] | None = None

    def __post_init__(self) -> None:
        check_types(self)
        check_sample(self.sample)
        if self.fresh and self.retry_failed:
            raise UsageError("--fresh starts over, --retry-failed keeps results: choose one")
        if self.shard is not None and self.setup.id == ORDINAL_ID:
            raise UsageError(
                f"a shard does not know how many rows stand before it, so --id {ORDINAL_ID} would"
                " number the rows of each shard from 0",
                hint="give the records an id",
            )

    def read_options(self) -> ReadOptions:
        """How to find and read the inputs. Raises `UsageError`."""
        return ReadOptions(
            home=self.setup.home,
            input_format=self.input_format,
            shard=None if self.shard is None else parse_shard(self.shard),
            stores=self.stores,
            offline=self.setup.offline,
            refresh=self.fresh,
            on_transfer=self.setup.on_transfer,
        )
