"""Pages hold whatever text they are given, and nothing but what they are built of."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textmill.html.build import CONTROLS, code, tag, visible
from textmill.html.document import document, policy

TEXTS = st.text(st.characters() | st.sampled_from("<>&\"'\0\x1b\r\n\ud800\u202e=/-!]"))


class Seen(HTMLParser):
    """What a parser finds that we did not write."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.tags, self.values, self.text = [], [], ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.values += [value for _, value in attrs]

    def handle_data(self, data):
        self.text += data


@given(TEXTS, TEXTS)
def test_any_text_is_text_and_any_attribute_an_attribute(text, value):
    seen = Seen(str(tag("p", tag("b", text), title=value)))
    assert seen.tags == ["p", "b"]
    assert seen.text == visible(text)
    assert seen.values == [visible(value)]


@given(TEXTS)
def test_a_page_can_be_written_as_utf8_and_holds_no_control(text):
    page = document(text, tag("p", text), style="p {}", script="let a;")
    page.encode()
    assert not CONTROLS.keys() & set(map(ord, page))
    assert Seen(page).tags.count("script") == 1


@given(TEXTS)
def test_what_is_visible_stays_as_it_is(text):
    assert visible(visible(text)) == visible(text)


@pytest.mark.parametrize(
    "attributes",
    [
        *({"onclick": "x()"}, {"OnClick": "x()"}, {"style": "x"}, {"src": "x"}, {"srcset": "x"}),
        *({"href": "javascript:x()"}, {"href": "https://x.example"}, {"formaction": "x"}),
        *({"data": "x"}, {"a b": "x"}, {"": "x"}),
    ],
    ids=str,
)
def test_attributes_that_could_run_or_load_something_are_refused(attributes):
    with pytest.raises(ValueError, match=r"attribute|own parts"):
        tag("a", "text", **attributes)


@pytest.mark.parametrize("name", ["script", "style", "p onclick=x", "", "1", "a>"])
def test_names_that_are_none_of_an_element_are_refused(name):
    with pytest.raises(ValueError, match="name"):
        tag(name, "text")


@pytest.mark.parametrize("text", ["</script>", "a </", "<!-- x"])
def test_code_cannot_end_its_element_early(text):
    with pytest.raises(ValueError, match="cannot stand"):
        code("script", text)


def test_the_policy_allows_what_stands_in_the_page_and_nothing_else():
    rules = dict(rule.split(" ", 1) for rule in policy("a", "b").split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["style-src"] == "'sha256-ypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLs='"
    assert rules["script-src"] != rules["style-src"]
    assert "connect-src" not in rules
    assert "unsafe" not in policy("a", "b", connect=True)


def test_parts_that_are_not_there_leave_nothing():
    assert str(tag("p", None, ["a", None, 3], hidden=False, class_="x", open=True)) == (
        '<p class="x" open>a3</p>'
    )
