"""Tiny repositories for the loopback hub."""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Sequence


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def t5_files(weights: bytes | None = None) -> dict[str, bytes]:
    """What a T5 repository holds on a real hub, other frameworks' and scripts included."""
    return {
        ".gitattributes": b"*.bin filter=lfs\n",
        "README.md": b"# A model\n",
        "config.json": b'{"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}',
        "generation_config.json": b'{"max_new_tokens": 20}',
        "tokenizer.json": b'{"version": "1.0"}',
        "tokenizer_config.json": b"{}",
        "special_tokens_map.json": b"{}",
        "spiece.model": noise(5_000, 1),
        "model.safetensors": noise(50_000) if weights is None else weights,
        "pytorch_model.bin": noise(60_000, 2),
        "tf_model.h5": noise(7_000, 3),
        "flax_model.msgpack": noise(7_000, 4),
        "modeling_t5.py": b"raise SystemExit('ran')\n",
        "training_args.bin": noise(100, 5),
        "onnx/model.onnx": noise(100, 6),
    }


T5_FETCHED = {
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "spiece.model",
    "model.safetensors",
}


ARTICLES = (
    ("(CNN)The river rose by two metres on Wednesday. Schools stayed shut.", "The river rose ."),
    ("(CNN)A court in The Hague has a new member.\nIt is the 123rd.", "Court has a member ."),
    ("A man who lost a ring found it in a fish. He had bought the fish.", "Ring found in fish ."),
    ("Storms are due on Friday, forecasters say — with “gusts”.", "Storms due .\nGusts too ."),
    ("The museum opens again in May.", "Museum to open ."),
)


def news_parquet(rows: Sequence[tuple[str, str]] = ARTICLES) -> bytes:
    """A shard of CNN/DailyMail's schema: article, highlights, id (40 hexadecimal digits)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {
            "article": [article for article, _ in rows],
            "highlights": [highlights for _, highlights in rows],
            "id": [hashlib.sha1(article.encode()).hexdigest() for article, _ in rows],
        }
    )
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=2)
    return sink.getvalue()


def news_files() -> dict[str, bytes]:
    """What the CNN/DailyMail repository holds: three configurations, three splits of each."""
    files = {
        ".gitattributes": b"",
        "README.md": b"# News\n",
        "cnn.py": b"raise SystemExit('ran')\n",
    }
    for number, config in enumerate(("1.0.0", "2.0.0", "3.0.0")):
        files[f"{config}/test-00000-of-00001.parquet"] = news_parquet(ARTICLES[number:])
        files[f"{config}/validation-00000-of-00001.parquet"] = news_parquet(ARTICLES[:1])
        for shard in (0, 1):
            train = news_parquet(ARTICLES[shard : shard + 2])
            files[f"{config}/train-0000{shard}-of-00002.parquet"] = train
    return files
