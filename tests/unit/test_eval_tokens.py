"""What a word is, by each tokenizer, in many scripts."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textmill import score
from textmill.errors import ParameterError
from textmill.evaluation.base import ROUGE_TYPES
from textmill.evaluation.rouge import Rouge
from textmill.evaluation.tokens import TOKENIZERS, folded, is_misread, tokenizer, tokenizer_label

CASES = {
    "latin with accents": ("Café crème, naïve_x", "café crème naïve x"),
    "composed or not": ("cafe\u0301", "café"),
    "full width": ("ＡＢＣ１２", "abc12"),
    "case": ("STRASSE Straße ΣΑΣ σας", "strasse strasse σασ σασ"),
    "vowel signs": ("हिन्दी भाषा।", "हिन्दी भाषा"),
    "joiners": ("می\u200cخواهم co\u00adoperate", "میخواهم cooperate"),
    "cyrillic and digits": ("Москва-2024", "москва 2024"),
    "korean": ("한국어 문장", "한국어 문장"),
    "a mark alone": ("\u0301 a", "a"),
}


@pytest.mark.parametrize("case", CASES)
def test_unicode_words(case: str) -> None:
    text, words = CASES[case]
    assert tokenizer("unicode")(text) == words.split()


SINGLE = {
    "chinese": ("机器学习ABC模型，2024年。", "机 器 学 习 abc 模 型 2024 年"),
    "japanese": ("日本語ﾃｷｽﾄとカナー", "日 本 語 テ キ ス ト と カ ナ ー"),
    "korean": ("한국어", "한 국 어"),
    "thai with marks": ("ก้าว", "ก้ า ว"),
    "beyond the first plane": ("𠮷野家", "𠮷 野 家"),
    "latin": ("Café crème", "café crème"),
    "hindi": ("हिन्दी भाषा", "हिन्दी भाषा"),
}


@pytest.mark.parametrize("case", SINGLE)
def test_cjk_words(case: str) -> None:
    text, words = SINGLE[case]
    assert tokenizer("cjk")(text) == words.split()


@pytest.mark.parametrize("name", TOKENIZERS)
def test_line_breaks_are_kept_and_only_newlines_are(name: str) -> None:
    assert tokenizer(name)("a\nb\r\n\u2028c\n") == ["a", "\n", "b", "\n", "c", "\n"]


@pytest.mark.parametrize("name", ["unicode", "cjk"])
@given(st.text(max_size=60))
def test_no_letter_or_digit_is_lost(name: str, text: str) -> None:
    """Together the words hold every letter and digit of the folded text, in order."""
    kept = [char for word in tokenizer(name)(text) for char in word if char.isalnum()]
    assert kept == [char for char in folded(text) if char.isalnum()]


@pytest.mark.parametrize("name", ["unicode", "cjk"])
@given(st.text(max_size=40))
def test_words_do_not_depend_on_case_or_composition(name: str, text: str) -> None:
    split = tokenizer(name)
    assert split(text) == split(unicodedata.normalize("NFD", text))
    assert split(text.casefold()) == split(text)


TEXTS = ["机器学习", "한국어 문장", "हिन्दी भाषा", "Ünïcödé wörds", "ภาษาไทย", "кириллица"]


@pytest.mark.parametrize("name", ["unicode", "cjk"])
@pytest.mark.parametrize("text", TEXTS)
def test_a_text_in_any_script_scores_1_against_itself(name: str, text: str) -> None:
    """rouge-score has 0 for most of them."""
    twice = f"{text} {text}"
    scores = Rouge(tokenizer=name).score([twice], [twice])
    assert {scores[kind].f1[0] for kind in ROUGE_TYPES} == {1.0}


def test_a_better_chinese_summary_scores_more() -> None:
    reference = "人工智能改变世界"
    scores = Rouge(["rouge1", "rouge2"], tokenizer="cjk").score(
        ["人工智能改变未来", "今天天气很好"], [reference, reference]
    )
    assert scores["rouge1"].f1.tolist() == [0.75, 0]
    assert scores["rouge2"].f1[0] == pytest.approx(5 / 7)


def test_english_is_stemmed_in_any_tokenizer_and_the_rest_is_left() -> None:
    for name in TOKENIZERS:
        scores = Rouge(["rouge1"], stemmer=True, tokenizer=name).score(["running"], ["runs"])
        assert scores["rouge1"].f1.tolist() == [1]
    left = Rouge(["rouge1"], stemmer=True, tokenizer="unicode").score(["écoles"], ["école"])
    assert left["rouge1"].f1.tolist() == [0]


def test_the_label_tells_the_version_of_unicode() -> None:
    assert tokenizer_label("rouge-score") == "rouge-score"
    assert tokenizer_label("cjk") == f"cjk-{unicodedata.unidata_version}"


def test_an_unknown_tokenizer_is_refused_before_anything_is_read() -> None:
    with pytest.raises(ParameterError, match="none of rouge-score, unicode, cjk"):
        score("gone", "gone", tokenizer="13a")


@pytest.mark.parametrize(
    ("name", "text", "misread"),
    [
        ("rouge-score", "猫", True),
        ("rouge-score", "GPT模型在大多数任务上都很好", True),
        ("rouge-score", "…!", True),
        ("rouge-score", "7", False),
        ("rouge-score", "the Müller café", False),
        ("rouge-score", "a word of Thai, ไทย, in a whole English sentence", False),
        ("unicode", "猫在垫子上坐着。", True),
        ("unicode", "แมวนั่งบนเสื่อ", True),
        ("unicode", "고양이가 매트 위에 앉아 있다", False),
        ("unicode", "кот сидит на коврике", False),
        ("unicode", "猫 在 垫子 上", False),
        ("unicode", "the firm 北京市海淀区 of which a longer English sentence speaks", False),
        ("cjk", "猫在垫子上坐着。", False),
    ],
)
def test_a_text_is_misread_where_a_fifth_of_its_letters_make_no_words(
    name: str, text: str, misread: bool
) -> None:
    assert is_misread(text, name) == misread
