from pathlib import Path
from typing import Any
from textmill.engines.echo import EchoEngine, EchoTokenizer


class LoadedModel:
    def __init__(self):
        self.checkpoint: Any = None
        self.tokenizer = EchoTokenizer()
        self.engine = EchoEngine()

    def close(self):
        pass


def load_model(folder, *, engine="auto", precision="auto", threads=None, cache_dir):
    return LoadedModel()
