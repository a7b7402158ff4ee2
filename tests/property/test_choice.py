"""Which engine `auto` means, and how texts are compared."""

from __future__ import annotations

from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from textmill.engines.choice import AGREES, Measured, fastest
from textmill.evaluation.likeness import likeness

IDS = st.lists(st.integers(0, 5), max_size=12)
MEASURED = st.builds(
    Measured,
    engine=st.sampled_from(["ct2", "openvino"]),
    precision=st.sampled_from(["int8", "bfloat16", "float32"]),
    records_per_second=st.floats(0, 1e6),
    tokens_per_second=st.just(0.0),
    same=st.just(0.0),
    likeness=st.floats(0, 1),
)


def longest_common(one: list[int], other: list[int]) -> int:
    """The textbook's recursion."""

    @cache
    def length(i: int, j: int) -> int:
        if not i or not j:
            return 0
        if one[i - 1] == other[j - 1]:
            return length(i - 1, j - 1) + 1
        return max(length(i - 1, j), length(i, j - 1))

    return length(len(one), len(other))


@given(IDS, IDS)
def test_likeness_is_the_share_of_the_longest_common_subsequence(one, other) -> None:
    expected = 2 * longest_common(one, other) / (len(one) + len(other)) if one + other else 1.0
    assert likeness(one, other) == expected
    assert (likeness(one, other) == 1.0) == (one == other)


@given(st.lists(MEASURED, max_size=6), st.sampled_from(["auto", "int8", "float32"]))
def test_the_fastest_that_agrees_is_chosen(measured, precision) -> None:
    found = fastest(measured, precision)
    able = [m for m in measured if m.likeness >= AGREES and precision in ("auto", m.precision)]
    if found is None:
        assert not able
    else:
        assert found in able
        assert all(found.records_per_second >= m.records_per_second for m in able)
