"""Numbers of things."""

from textmill.words import counted


def test_one_is_singular_and_all_else_plural():
    assert [counted(n, "row") for n in (0, 1, 2, 1234)] == [
        "0 rows",
        "1 row",
        "2 rows",
        "1,234 rows",
    ]
    assert counted(2, "row has", "rows have") == "2 rows have"
