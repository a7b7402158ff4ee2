"""A Hugging Face model folder as one typed description plus named arrays.

Neither torch nor transformers is needed. Every engine is built from what is here.
"""

from textmill.engines.checkpoint.architecture import (
    SUPPORTED,
    Architecture,
    BartArchitecture,
    Positions,
    T5Architecture,
)
from textmill.engines.checkpoint.arrays import Arrays
from textmill.engines.checkpoint.reader import Checkpoint, ModelFile, open_checkpoint

__all__ = [
    "SUPPORTED",
    "Architecture",
    "Arrays",
    "BartArchitecture",
    "Checkpoint",
    "ModelFile",
    "Positions",
    "T5Architecture",
    "open_checkpoint",
]
