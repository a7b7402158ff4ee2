"""Train the model; goes on from the last checkpoint of the folder.

    python train.py [--folder build] [--run run] [--steps 20000] [--rate 2e-3]

The rate is held after a warm-up, and falls to nothing in the last part of the steps (`--decay`): so
a run can be made longer from any checkpoint. What is kept is the moving average of the weights.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from batches import LONGEST_INPUT, Batch, Names, Pair, batches, read_pairs, without_siblings
from start import copying, new_model
from tokenizers import Tokenizer
from transformers import T5ForConditionalGeneration

WARM_UP = 300
EVERY = 500
AVERAGE = 0.999


def main() -> None:
    """Train for some steps."""
    args = _arguments()
    random.seed(args.seed)
    tokenizer = Tokenizer.from_file(str(args.folder / "tokenizer/tokenizer.json"))
    pairs = read_pairs(args.folder / "train.jsonl")
    valid = list(
        batches(
            read_pairs(args.folder / "valid.jsonl"),
            tokenizer,
            4000,
            LONGEST_INPUT,
            random.Random(0),
        )
    )
    Trainer(args, tokenizer, pairs, valid).run()


class Trainer:
    """The model, its average, its optimisers, and where it stands."""

    def __init__(
        self,
        args: argparse.Namespace,
        tokenizer: Tokenizer,
        pairs: list[Pair],
        valid: list[Batch],
    ) -> None:
        self.args, self.tokenizer, self.pairs, self.valid = args, tokenizer, pairs, valid
        self.folder = args.folder / args.run
        self.folder.mkdir(exist_ok=True)
        size = tokenizer.get_vocab_size()
        self.model = new_model(size, args.seed, copies=not args.no_circuit)
        self.model.config.dropout_rate = args.dropout
        _set_dropout(self.model, args.dropout)
        self.average = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.optimisers = _optimisers(self.model, args)
        self.step = self.epoch = 0
        self.stopping = False
        self._resume()

    def run(self) -> None:
        """Until the steps are done or a signal comes."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        began, losses = time.monotonic(), []
        for batch in self._stream():
            if self.step >= self.args.steps or self.stopping:
                break
            losses.append(self._learn(batch))
            self.step += 1
            if self.step % 50 == 0:
                self._log(train=sum(losses) / len(losses), seconds=time.monotonic() - began)
                losses.clear()
            if self.step % EVERY == 0:
                self._log(valid=self._valid_loss(), copied=self._copied())
                self._save()
        self._save()

    def _stream(self) -> Iterator[Batch]:
        names = Names(self.pairs)
        while True:
            chance = random.Random(self.args.seed * 1000 + self.epoch)
            chosen = without_siblings(self.pairs, chance)
            pairs = [names.exchanged(pair, chance) for pair in chosen]
            yield from batches(
                pairs, self.tokenizer, self.args.tokens, self.args.longest, chance, names=names
            )
            self.epoch += 1

    def _learn(self, batch: Batch) -> float:
        self.model.train()
        rate = self._rate()
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate * group["share"]
        loss = _loss(self.model, batch, self.args.smoothing)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        keep = min(AVERAGE, self.step / (self.step + 10))
        state = self.model.state_dict()
        names = [name for name in state if state[name].is_floating_point()]
        torch._foreach_lerp_(
            [self.average[name] for name in names], [state[name] for name in names], 1 - keep
        )
        return float(loss.detach())

    def _rate(self) -> float:
        begun = min(1.0, (self.step + 1) / WARM_UP)
        left = (self.args.steps - self.step) / max(1, int(self.args.steps * self.args.decay))
        return self.args.rate * min(begun, left, 1.0)

    @torch.no_grad()
    def _valid_loss(self) -> float:
        kept = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        self.model.eval()
        sums = [(float(_loss(self.model, b, 0.0)), int((b.labels >= 0).sum())) for b in self.valid]
        self.model.load_state_dict(kept)
        return sum(loss * n for loss, n in sums) / sum(n for _, n in sums)

    def _copied(self) -> float:
        self.model.eval()
        return copying(self.model)

    def _log(self, **figures: float) -> None:
        line = {"step": self.step, "epoch": self.epoch} | {
            name: round(value, 4) for name, value in figures.items()
        }
        print(json.dumps(line), flush=True)
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _save(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "average": self.average,
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "step": self.step,
            "epoch": self.epoch,
        }
        new = self.folder / "checkpoint.new"
        torch.save(state, new)
        new.replace(self.folder / "checkpoint.pt")

    def _resume(self) -> None:
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path)
        self.model.load_state_dict(state["model"])
        self.average = state["average"]
        for optimiser, kept in zip(self.optimisers, state["optimisers"], strict=True):
            shares = [group["share"] for group in optimiser.param_groups]
            optimiser.load_state_dict(kept)
            for group, share in zip(optimiser.param_groups, shares, strict=True):
                group["share"] = share
        self.step, self.epoch = state["step"], state["epoch"] + 1

    def _stop(self, *_: object) -> None:
        self.stopping = True


def _loss(model: T5ForConditionalGeneration, batch: Batch, smoothing: float) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(
            input_ids=batch.ids, attention_mask=(batch.ids != 0).long(), labels=batch.labels
        ).logits
    losses = torch.nn.functional.cross_entropy(
        logits.float().flatten(0, 1),
        batch.labels.flatten(),
        ignore_index=-100,
        label_smoothing=smoothing,
        reduction="none",
    )
    return (losses * batch.weights.flatten()).sum() / batch.weights.sum()


def _optimisers(
    model: T5ForConditionalGeneration, args: argparse.Namespace
) -> list[torch.optim.Optimizer]:
    embeddings = [model.shared.weight]
    small = [p for n, p in model.named_parameters() if p.ndim < 2 or "relative" in n]
    taken = {id(p) for p in (*embeddings, *small)}
    matrices = [p for p in model.parameters() if id(p) not in taken]
    adam = [
        {"params": embeddings, "share": 10.0, "weight_decay": 0.0},
        {"params": small, "share": 3.0, "weight_decay": 0.0},
    ]
    if args.optimiser == "muon":
        muon = torch.optim.Muon(
            [{"params": matrices, "share": 1.0}],
            lr=args.rate,
            weight_decay=0.1,
            adjust_lr_fn="match_rms_adamw",
        )
        return [muon, torch.optim.AdamW(adam, lr=args.rate, betas=(0.9, 0.98), fused=True)]
    adam.append({"params": matrices, "share": 1.0, "weight_decay": 0.1})
    return [torch.optim.AdamW(adam, lr=args.rate, betas=(0.9, 0.98), fused=True)]


def _set_dropout(model: torch.nn.Module, rate: float) -> None:
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = rate


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build"))
    parser.add_argument("--run", default="run")
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--tokens", type=int, default=6000, help="of input in a batch")
    parser.add_argument("--longest", type=int, default=LONGEST_INPUT, help="input tokens")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--decay", type=float, default=0.3)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--smoothing", type=float, default=0.0)
    parser.add_argument("--optimiser", choices=["adamw", "muon"], default="muon")
    parser.add_argument("--no-circuit", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
