"""Write the averaged weights of a checkpoint as a model folder that textmill opens.

python export.py [--folder build] [--run run] [--to build/model]
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
from start import new_model
from transformers import GenerationConfig, T5ForConditionalGeneration


def main() -> None:
    """Write the model in bfloat16, its tokenizer, and the defaults of generation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build"))
    parser.add_argument("--run", default="run")
    parser.add_argument("--to", type=Path, default=Path("build/model"))
    args = parser.parse_args()
    model = averaged(args.folder / args.run / "checkpoint.pt")
    model.generation_config = GenerationConfig(
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
        max_new_tokens=32,
        no_repeat_ngram_size=3,  # else one text in sixty goes round in circles
    )
    model.to(torch.bfloat16).save_pretrained(args.to)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(args.folder / "tokenizer" / name, args.to / name)
    print(args.to, f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters")


def averaged(checkpoint: Path) -> T5ForConditionalGeneration:
    """The model with the moving average of its weights, in float32."""
    weights = torch.load(checkpoint)["average"]
    model = new_model(weights["shared.weight"].shape[0], 0, copies=False)
    model.load_state_dict(weights)
    return model.eval()


if __name__ == "__main__":
    main()
