"""A vocabulary of 8,192 pieces for the texts that are trained on.

    python vocabulary.py [--folder build] [--pieces 8192]

SentencePiece unigram with bytes for what it does not know, written as `tokenizer.json` in the form
of T5's.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import sentencepiece
from batches import PROMPT, read_pairs
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram
from transformers import PreTrainedTokenizerFast


def main() -> None:
    """Train and convert."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build"))
    parser.add_argument("--pieces", type=int, default=8192)
    args = parser.parse_args()
    texts = args.folder / "texts.txt"
    with texts.open("w") as file:
        for pair in read_pairs(args.folder / "train.jsonl"):
            file.write(f"{PROMPT}{pair.document}\n{pair.summary}\n")
    folder = args.folder / "tokenizer"
    folder.mkdir(exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        input=str(texts),
        model_prefix=str(folder / "spiece"),
        vocab_size=args.pieces,
        model_type="unigram",
        byte_fallback=True,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        input_sentence_size=300_000,
        shuffle_input_sentence=True,
        num_threads=2,
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=as_tokenizer(folder / "spiece.model"),
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=512,
    )
    tokenizer.save_pretrained(folder)
    print(len(tokenizer), tokenizer.tokenize(PROMPT + "Golang AMQP mocking library ☃"))


def as_tokenizer(model: Path) -> Tokenizer:
    """SentencePiece's vocabulary in a tokenizer of Hugging Face's, with T5's end of text."""
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(model))
    vocabulary = [(pieces.id_to_piece(i), pieces.get_score(i)) for i in range(len(pieces))]
    tokenizer = Tokenizer(Unigram(vocabulary, unk_id=pieces.unk_id(), byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    space = {"replacement": "▁", "prepend_scheme": "always", "split": True}
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(**space)
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(**space)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A $B </s>", special_tokens=[("</s>", pieces.eos_id())]
    )
    return tokenizer


if __name__ == "__main__":
    main()
