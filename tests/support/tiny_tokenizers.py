"""Tiny real tokenizers, written to disk the way each family of models is published.

`build(family, folder)` fills a folder; `FAMILIES` lists what it knows. Vocabularies are trained
on the demo data and some multilingual lines, once per process. A `config.json` that is already
there is left alone, so a tiny model can be saved before or after.
"""

from __future__ import annotations

import io
import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[2] / "src/textmill/assets/demo/data/packages.jsonl"

MULTILINGUAL = [
    "Der schnelle braune Fuchs springt über den faulen Hund und läuft nach Köln.",
    "Le vif renard brun saute par-dessus le chien paresseux, où ça s’arrête là.",
    "Быстрая коричневая лиса прыгает через ленивую собаку.",
    "敏捷的棕色狐狸跳过了懒狗。天气很好，我们去公园吧！",
    "素早い茶色の狐がのろまな犬を飛び越える。コンピューターは便利です。",
    "الثعلب البني السريع يقفز فوق الكلب الكسول",
    "השועל החום המהיר קופץ מעל הכלב העצלן",
    "तेज़ भूरी लोमड़ी आलसी कुत्ते के ऊपर कूदती है",
    "빠른 갈색 여우가 게으른 개를 뛰어넘는다",
    "Vulpea maro și rapidă sare peste câinele leneș, iar ţara e frumoasă.",
]

NASTY = [
    "",
    " ",
    "   \t\n  ",
    "\x00",
    "a\x00b",
    "\x01\x02\x7f",
    "\u200b\u200e\ufeff",
    "👩‍👩‍👧‍👦 family 🇫🇷 flag 👍🏽",
    "\u0301\u0302 lone marks e\u0301\u0301\u0301",
    "השועל \u202eRTL\u202c الثعلب",
    "ＦＵＬＬ　ｗｉｄｔｈ ① ½ ﬁ ™ … “quoted” —",
    "天气很好，我们去公园吧。" * 5,
    "a" + " " * 500 + "b",
    " leading and trailing ",
    "trailing newline\n",
    "line one\nline two\r\n\r\nline three\x0bfour\x0cfive\x85six\u2028seven",
    "▁ literal ▁▁ mark▁",
    "</s> <s> <pad> <unk> <mask> <extra_id_0><extra_id_99>",
    "in</s>side <unk>known",
    "it 's , do n't ! you 've ? ' quoted ' .",
    "aaaaaaa ababababa ------- ====== .....",
    "!!!???,,,;;; ((([[[{{{ \\\\ // || ~~~ ```",
    "x" * 3000,
    "http://example.org/a?b=c&d=%20 <tag attr='1'>&amp;</tag>",
    "\U0010ffff\ue000\ud7ff",
    "각 \u1100\u1161\u11a8 ガ カ\u3099",
    "1234567890 3.14159 1,000,000 ١٢٣",
    ">>fra<< hello >>deu<< there",
    "__fr__ hello en_XX eng_Latn",
]


@cache
def documents() -> tuple[str, ...]:
    """The demo set's 2,000 documents."""
    with DATA.open(encoding="utf-8") as lines:
        return tuple(json.loads(line)["document"] for line in lines)


@cache
def summaries() -> tuple[str, ...]:
    """The demo set's 2,000 references."""
    with DATA.open(encoding="utf-8") as lines:
        return tuple(json.loads(line)["summary"] for line in lines)


def corpus() -> Iterator[str]:
    """Lines to train on."""
    for document in documents()[:400]:
        yield from document.split("\n")
    yield from MULTILINGUAL * 20


@cache
def spm_model(kind: str, size: int, **options: Any) -> bytes:
    """A SentencePiece model file; `kind` is "unigram" or "bpe"."""
    import sentencepiece

    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=corpus(),
        model_writer=out,
        vocab_size=size,
        model_type=kind,
        character_coverage=0.995,
        num_threads=1,
        minloglevel=2,
        **options,
    )
    return out.getvalue()


def t5_spm(size: int = 1000, **options: Any) -> bytes:
    """Ids as T5 and Pegasus have them: <pad>, </s>, <unk>."""
    return spm_model("unigram", size, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, **options)


def proto_of(model: bytes) -> Any:
    """The model file as SentencePiece's own message."""
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model)
    return proto


METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
WORDS = {
    "type": "Sequence",
    "pretokenizers": [{"type": "WhitespaceSplit"}, METASPACE],
}
ONE_SPACE = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}


def precompiled(model: bytes) -> dict[str, Any]:
    charsmap = proto_of(model).normalizer_spec.precompiled_charsmap
    return {"type": "Precompiled", "precompiled_charsmap": b64encode(charsmap).decode()}


def added(index: int, text: str, **flags: bool) -> dict[str, Any]:
    token = {"id": index, "content": text, "single_word": False, "lstrip": False}
    return {**token, "rstrip": False, "normalized": False, "special": True, **flags}


def template(*parts: str, ids: dict[str, int]) -> dict[str, Any]:
    """A post-processor; "$A" is the text."""
    single = [
        {"Sequence": {"id": "A", "type_id": 0}}
        if part == "$A"
        else {"SpecialToken": {"id": part, "type_id": 0}}
        for part in parts
    ]
    pair = [*single, {"Sequence": {"id": "B", "type_id": 0}}]
    specials = {
        part: {"id": part, "ids": [ids[part]], "tokens": [part]} for part in parts if part != "$A"
    }
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": pair,
        "special_tokens": specials,
    }


def tokenizer_json(
    model: dict[str, Any], tokens: list[dict[str, Any]], **steps: Any
) -> dict[str, Any]:
    # a stored truncation and padding, as many published files have: they must not be applied
    truncation = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
    padding = {
        "strategy": {"Fixed": 8},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "<pad>",
    }
    empty = {"normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None}
    return {
        "version": "1.0",
        "truncation": truncation,
        "padding": padding,
        "added_tokens": tokens,
        **empty,
        **steps,
        "model": model,
    }


def unigram(vocab: list[tuple[str, float]], unk_id: int) -> dict[str, Any]:
    return {"type": "Unigram", "unk_id": unk_id, "vocab": vocab, "byte_fallback": False}


def scored(model: bytes) -> list[tuple[str, float]]:
    return [(piece.piece, piece.score) for piece in proto_of(model).pieces]


def write(folder: Path, name: str, content: Any) -> None:
    if isinstance(content, bytes):
        (folder / name).write_bytes(content)
    else:
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        (folder / name).write_text(text, encoding="utf-8")


EXTRA_IDS = [f"<extra_id_{i}>" for i in range(100)]
T5_ROLES = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
ALL_ROLES = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "sep_token": "</s>",
    "cls_token": "<s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
}
MASK = {
    "content": "<mask>",
    "lstrip": True,
    "normalized": True,
    "rstrip": False,
    "single_word": False,
}


def t5_json(spm: bytes, normalizer: Any) -> dict[str, Any]:
    vocab = scored(spm) + [(text, 0.0) for text in reversed(EXTRA_IDS)]
    ids = {text: i for i, (text, _) in enumerate(vocab)}
    tokens = [added(ids[text], text) for text in ["<pad>", "</s>", "<unk>"]]
    tokens += sorted((added(ids[text], text) for text in EXTRA_IDS), key=lambda t: t["id"])
    return tokenizer_json(
        unigram(vocab, 2),
        tokens,
        normalizer=normalizer,
        pre_tokenizer=WORDS,
        post_processor=template("$A", "</s>", ids=ids),
        decoder=METASPACE,
    )


def t5(folder: Path) -> None:
    """t5-small, flan-t5: everything."""
    t5_spm_only(folder)
    spm = t5_spm()
    write(folder, "tokenizer.json", t5_json(spm, precompiled(spm)))
    write(
        folder,
        "tokenizer_config.json",
        {
            **T5_ROLES,
            "extra_ids": 100,
            "additional_special_tokens": EXTRA_IDS,
            "model_max_length": 512,
            "tokenizer_class": "T5Tokenizer",
            "clean_up_tokenization_spaces": True,
        },
    )


def t5_spm_only(folder: Path) -> None:
    write(folder, "spiece.model", t5_spm())


def mt5(folder: Path) -> None:
    """google/mt5: SentencePiece with byte pieces, no sentinels."""
    write(folder, "spiece.model", t5_spm(1300, byte_fallback=True))
    write(folder, "special_tokens_map.json", T5_ROLES)
    write(
        folder,
        "tokenizer_config.json",
        {
            **T5_ROLES,
            "extra_ids": 0,
            "additional_special_tokens": None,
            "tokenizer_class": "T5Tokenizer",
        },
    )


def umt5(folder: Path) -> None:
    """google/umt5: a tokenizer.json that is taken as it is."""
    spm = t5_spm(900)
    strip = {"type": "Strip", "strip_left": False, "strip_right": True}
    spaces = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"}
    steps = {"type": "Sequence", "normalizers": [precompiled(spm), strip, spaces]}
    content = t5_json(spm, steps) | {"pre_tokenizer": METASPACE}
    write(folder, "spiece.model", spm)
    write(folder, "tokenizer.json", content)
    write(folder, "special_tokens_map.json", T5_ROLES | {"additional_special_tokens": EXTRA_IDS})
    write(
        folder,
        "tokenizer_config.json",
        {
            **T5_ROLES,
            "extra_ids": 100,
            "additional_special_tokens": EXTRA_IDS,
            "tokenizer_class": "T5Tokenizer",
        },
    )


def byt5(folder: Path) -> None:
    """google/byt5: no vocabulary at all."""
    extra = [f"<extra_id_{i}>" for i in range(125)]
    flags = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    roles = {role: {"content": text, **flags} for role, text in T5_ROLES.items()}
    write(folder, "special_tokens_map.json", {**roles, "additional_special_tokens": extra})
    write(
        folder,
        "tokenizer_config.json",
        {
            **{role: {"__type": "AddedToken", **token} for role, token in roles.items()},
            "extra_ids": 0,
            "additional_special_tokens": extra,
            "tokenizer_class": "ByT5Tokenizer",
        },
    )


PEGASUS_FILLERS = [f"<unk_{i}>" for i in range(2, 103)]


def pegasus_spm(folder: Path) -> None:
    """google/pegasus-xsum without its tokenizer.json."""
    write(folder, "spiece.model", t5_spm())
    write(
        folder,
        "tokenizer_config.json",
        {
            **T5_ROLES,
            "mask_token": "<mask_2>",
            "mask_token_sent": "<mask_1>",
            "offset": 103,
            "additional_special_tokens": ["<mask_1>", *PEGASUS_FILLERS],
            "tokenizer_class": "PegasusTokenizer",
        },
    )


def pegasus(folder: Path) -> None:
    pegasus_spm(folder)
    spm = t5_spm()
    vocab = [(text, 0.0) for text in ("<pad>", "</s>", "<mask_1>", "<mask_2>")]
    vocab += [(text, -100.0) for text in PEGASUS_FILLERS] + scored(spm)[2:]
    ids = {text: i for i, (text, _) in enumerate(vocab)}
    specials = ["<pad>", "</s>", "<mask_1>", "<mask_2>", *PEGASUS_FILLERS, "<unk>"]
    write(
        folder,
        "tokenizer.json",
        tokenizer_json(
            unigram(vocab, 105),
            [added(ids[text], text) for text in specials],
            normalizer=precompiled(spm),
            pre_tokenizer=WORDS,
            post_processor=template("$A", "</s>", ids=ids),
            decoder=METASPACE,
        ),
    )


@cache
def byte_level_bpe() -> tuple[dict[str, int], list[list[str]]]:
    """(vocabulary, merges) as BART has them."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    trained.train_from_iterator(corpus(), trainer)
    model = json.loads(trained.to_str())["model"]
    vocab = dict(model["vocab"])
    vocab["<mask>"] = len(vocab)
    merges = [m.split(" ") if isinstance(m, str) else list(m) for m in model["merges"]]
    return vocab, merges


def bart_files(folder: Path) -> None:
    """facebook/bart as first published: vocab.json and merges.txt, nothing else."""
    vocab, merges = byte_level_bpe()
    write(folder, "vocab.json", vocab)
    write(folder, "merges.txt", "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))


def bart(folder: Path) -> None:
    bart_files(folder)
    vocab, merges = byte_level_bpe()
    tokens = [added(vocab[text], text) for text in ("<s>", "<pad>", "</s>", "<unk>")]
    tokens.append(added(vocab["<mask>"], "<mask>", lstrip=True))
    level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "",
        "fuse_unk": False,
        "vocab": vocab,
        "merges": [" ".join(pair) for pair in merges],
    }
    processor = {
        "type": "RobertaProcessing",
        "sep": ["</s>", 2],
        "cls": ["<s>", 0],
        "trim_offsets": True,
        "add_prefix_space": False,
    }
    write(
        folder,
        "tokenizer.json",
        tokenizer_json(
            model,
            tokens,
            pre_tokenizer=level,
            post_processor=processor,
            decoder=level,
        ),
    )
    write(folder, "tokenizer_config.json", {"model_max_length": 1024})


def fairseq(spm: bytes, tail: list[str]) -> list[tuple[str, float]]:
    first = [(text, 0.0) for text in ("<s>", "<pad>", "</s>", "<unk>")]
    return first + scored(spm)[3:] + [(text, 0.0) for text in tail]


def mbart_spm(folder: Path) -> None:
    """facebook/mbart-large-cc25 without its tokenizer.json."""
    write(folder, "sentencepiece.bpe.model", spm_model("unigram", 1000))


def mbart(folder: Path) -> None:
    from transformers.models.mbart.tokenization_mbart import FAIRSEQ_LANGUAGE_CODES

    mbart_spm(folder)
    spm = spm_model("unigram", 1000)
    vocab = fairseq(spm, [*FAIRSEQ_LANGUAGE_CODES, "<mask>"])
    ids = {text: i for i, (text, _) in enumerate(vocab)}
    specials = ["<s>", "<pad>", "</s>", "<unk>", *FAIRSEQ_LANGUAGE_CODES]
    tokens = [added(ids[text], text) for text in specials]
    tokens.append(added(ids["<mask>"], "<mask>", lstrip=True, normalized=True))
    write(
        folder,
        "tokenizer.json",
        tokenizer_json(
            unigram(vocab, 3),
            tokens,
            normalizer=precompiled(spm),
            pre_tokenizer=WORDS,
            post_processor=template("$A", "</s>", "en_XX", ids=ids),
            decoder=METASPACE,
        ),
    )
    write(folder, "tokenizer_config.json", {"model_max_length": 1024})


def mbart50(folder: Path) -> None:
    """facebook/mbart-large-50: SentencePiece only."""
    from transformers.models.mbart50.tokenization_mbart50 import FAIRSEQ_LANGUAGE_CODES

    write(folder, "sentencepiece.bpe.model", spm_model("unigram", 1000))
    roles = {role: text for role, text in ALL_ROLES.items() if role != "bos_token"}
    write(
        folder,
        "special_tokens_map.json",
        {
            **roles,
            "mask_token": MASK,
            "additional_special_tokens": FAIRSEQ_LANGUAGE_CODES,
        },
    )
    write(
        folder,
        "tokenizer_config.json",
        {
            "src_lang": None,
            "tgt_lang": None,
            **roles,
            "mask_token": {"__type": "AddedToken", **MASK},
            "language_codes": "mbart50",
            "additional_special_tokens": FAIRSEQ_LANGUAGE_CODES,
            "tokenizer_class": "MBart50Tokenizer",
        },
    )


def nllb_codes() -> list[str]:
    from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES

    return list(FAIRSEQ_LANGUAGE_CODES)


def nllb_spm(folder: Path) -> None:
    """facebook/nllb-200 without its tokenizer.json."""
    write(folder, "sentencepiece.bpe.model", spm_model("bpe", 1000))
    write(
        folder,
        "special_tokens_map.json",
        {
            **ALL_ROLES,
            "mask_token": MASK,
            "additional_special_tokens": nllb_codes(),
        },
    )
    write(
        folder,
        "tokenizer_config.json",
        {
            **ALL_ROLES,
            "mask_token": {"__type": "AddedToken", **MASK},
            "additional_special_tokens": nllb_codes(),
            "src_lang": None,
            "tgt_lang": None,
            "legacy_behaviour": False,
            "tokenizer_class": "NllbTokenizer",
        },
    )


def nllb(folder: Path) -> None:
    from transformers.tokenization_utils_base import generate_merges

    nllb_spm(folder)
    spm = spm_model("bpe", 1000)
    pieces = {text: i for i, (text, _) in enumerate(scored(spm))}
    vocab = {text: i for i, (text, _) in enumerate(fairseq(spm, []))}
    first = [added(i, text) for i, text in enumerate(("<s>", "<pad>", "</s>", "<unk>"))]
    tokens = first + [added(len(vocab) + i, code) for i, code in enumerate(nllb_codes())]
    tokens.append(added(len(vocab) + len(nllb_codes()), "<mask>", lstrip=True, normalized=True))
    ids = vocab | {token["content"]: token["id"] for token in tokens}
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": "<unk>",
        "fuse_unk": True,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "byte_fallback": False,
        "vocab": vocab,
        "merges": [" ".join(pair) for pair in generate_merges(pieces)],
    }
    write(
        folder,
        "tokenizer.json",
        tokenizer_json(
            model,
            tokens,
            pre_tokenizer=METASPACE,
            decoder=METASPACE,
            normalizer={"type": "Sequence", "normalizers": [precompiled(spm), ONE_SPACE]},
            post_processor=template("eng_Latn", "$A", "</s>", ids=ids),
        ),
    )


def m2m100(folder: Path) -> None:
    """facebook/m2m100: BPE pieces numbered by vocab.json, one piece in fifty left out of it."""
    from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES

    spm = spm_model("bpe", 1000)
    pieces = [text for i, (text, _) in enumerate(scored(spm)) if i >= 3 and i % 50]
    vocab = {text: i for i, text in enumerate(["<s>", "<pad>", "</s>", "<unk>", *pieces])}
    codes = [f"__{code}__" for code in FAIRSEQ_LANGUAGE_CODES["m2m100"]]
    roles = {role: text for role, text in ALL_ROLES.items() if role != "cls_token"}
    write(folder, "sentencepiece.bpe.model", spm)
    write(folder, "vocab.json", vocab)
    write(folder, "special_tokens_map.json", {**roles, "additional_special_tokens": codes})
    write(
        folder,
        "tokenizer_config.json",
        {
            **roles,
            "src_lang": None,
            "tgt_lang": None,
            "language_codes": "m2m100",
            "num_madeup_words": 8,
            "tokenizer_class": "M2M100Tokenizer",
            "model_max_length": 1024,
        },
    )


def marian(folder: Path) -> None:
    """Helsinki-NLP/opus-mt: two SentencePiece models, one vocab.json, target language codes."""
    source, target = spm_model("unigram", 1000), spm_model("unigram", 700)
    pieces = dict.fromkeys(text for spm in (source, target) for text, _ in scored(spm)[3:])
    texts = [
        "</s>",
        "<unk>",
        ">>fra<<",
        ">>deu<<",
        *list(pieces)[::-1],
        *"日本龘",
        "龘龘",
        "<pad>",
    ]
    vocab = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    write(folder, "source.spm", source)
    write(folder, "target.spm", target)
    write(folder, "vocab.json", vocab)
    write(
        folder,
        "tokenizer_config.json",
        {
            "source_lang": "eng",
            "target_lang": "mul",
            "model_max_length": 512,
        },
    )


def marian_separate(folder: Path) -> None:
    """Marian with a vocabulary of its own on each side."""
    source, target = spm_model("unigram", 1000), spm_model("unigram", 700)
    for name, spm, vocab_name in (
        ("source.spm", source, "vocab.json"),
        ("target.spm", target, "target_vocab.json"),
    ):
        texts = ["</s>", "<unk>", *(text for text, _ in scored(spm)[3:]), "<pad>"]
        write(folder, name, spm)
        write(folder, vocab_name, {text: i for i, text in enumerate(texts)})
    write(
        folder,
        "tokenizer_config.json",
        {
            "source_lang": "eng",
            "target_lang": "fra",
            "separate_vocabs": True,
            "tokenizer_class": "MarianTokenizer",
        },
    )


FAMILIES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "t5": ("t5", t5),
    "t5-spm": ("t5", t5_spm_only),
    "mt5": ("mt5", mt5),
    "umt5": ("umt5", umt5),
    "byt5": ("t5", byt5),
    "pegasus": ("pegasus", pegasus),
    "pegasus-spm": ("pegasus", pegasus_spm),
    "bart": ("bart", bart),
    "bart-files": ("bart", bart_files),
    "mbart": ("mbart", mbart),
    "mbart-spm": ("mbart", mbart_spm),
    "mbart50": ("mbart", mbart50),
    "nllb": ("m2m_100", nllb),
    "nllb-spm": ("m2m_100", nllb_spm),
    "m2m100": ("m2m_100", m2m100),
    "marian": ("marian", marian),
    "marian-separate": ("marian", marian_separate),
}
"""Family → (model type, builder). "-spm" and "-files" are without a tokenizer.json."""


def build(family: str, folder: Path) -> Path:
    """Write the family's tokenizer files into `folder`, made if need be, and return it."""
    model_type, builder = FAMILIES[family]
    folder.mkdir(parents=True, exist_ok=True)
    builder(folder)
    if not (folder / "config.json").exists():
        write(folder, "config.json", {"model_type": model_type})
    return folder
