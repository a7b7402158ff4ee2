"""The desk at which requests wait for a lane."""

from __future__ import annotations

from textmill.core import Params, Request
from textmill.engines.openvino.lane import Desk


def test_equal_texts_wait_side_by_side_longest_first() -> None:
    ids = [[3, 1], [5, 6, 1], [4, 1], [5, 6, 1], [3, 1]]
    desk = Desk()
    desk.hand_in(tuple(Request(n, 0, one, Params()) for n, one in enumerate(ids)))
    assert [request.ordinal for request in desk.waiting] == [1, 3, 0, 4, 2]
