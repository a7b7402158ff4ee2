"""Records into requests, as SageMaker's MultiRecord does. Pure.

One engine computes all records of a job together, so requests decide no speed here. They decide
what is too large, and where `AssembleWith` puts its line ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def pack(sizes_bytes: Iterable[int], *, max_bytes: int, multi_record: bool) -> Iterator[int]:
    """How many records each request has, in order: as many whole ones as fit.

    max_bytes: of one request; 0 is no limit. A record that alone is larger gets a request of its
    own.
    """
    count = held = 0
    for size in sizes_bytes:
        if count and (not multi_record or (max_bytes and held + size > max_bytes)):
            yield count
            count = held = 0
        count, held = count + 1, held + size
    if count:
        yield count
