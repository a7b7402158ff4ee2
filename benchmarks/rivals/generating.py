"""What has transformers' `generate`: transformers itself, and optimum-intel."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textmill.core import Params, Request

SIZES = (4, 16, 32)


class Generating:
    """Batches of padded texts through `generate`, in this process."""

    def __init__(self, model: Any, threads: int, sizes: tuple[int, ...]) -> None:
        """sizes: of batches that are tried; of several, texts are sorted by length before."""
        import torch

        torch.set_num_threads(threads)
        self._model, self._sizes = model, sizes
        self._size = sizes[0]

    def search(self, _: Sequence[Request], some: Sequence[Request]) -> int:
        """The best size of a batch."""
        if len(self._sizes) > 1:
            self._size = min(self._sizes, key=lambda size: self._seconds(some[: max(SIZES)], size))
        return self._size

    def _seconds(self, some: Sequence[Request], size: int) -> float:
        self._size = size
        return self.run(some)[0]

    def run(self, requests: Sequence[Request]) -> tuple[float, float]:
        """Wall and processor seconds of all requests."""
        if len(self._sizes) > 1:
            requests = sorted(requests, key=lambda request: -len(request.ids))
        wall, processor = time.perf_counter(), time.process_time()
        for at in range(0, len(requests), self._size):
            self._generate(requests[at : at + self._size])
        return time.perf_counter() - wall, time.process_time() - processor

    def _generate(self, requests: Sequence[Request]) -> None:
        import torch

        longest = max(len(request.ids) for request in requests)
        ids = [request.ids + [0] * (longest - len(request.ids)) for request in requests]
        mask = [[1] * len(request.ids) + [0] * (longest - len(request.ids)) for request in requests]
        params: Params = requests[0].params
        with torch.inference_mode():
            self._model.generate(
                input_ids=torch.tensor(ids),
                attention_mask=torch.tensor(mask),
                max_new_tokens=params.max_new_tokens,
                min_new_tokens=params.min_new_tokens or None,
                do_sample=False,
                num_beams=1,
            )

    def close(self) -> None:
        """Give the memory back."""
        self._model = None


class Transformers(Generating):
    """PyTorch, in a precision."""

    def __init__(
        self, folder: Path, dtype: str, threads: int, sizes: tuple[int, ...] = SIZES
    ) -> None:
        import torch
        import transformers

        model = transformers.AutoModelForSeq2SeqLM.from_pretrained(
            folder, dtype=getattr(torch, dtype)
        )
        super().__init__(model.eval(), threads, sizes)


class Optimum(Generating):
    """optimum-intel's OVModelForSeq2SeqLM, weights in int8."""

    @staticmethod
    def is_installed() -> bool:
        try:
            return importlib.util.find_spec("optimum.intel") is not None
        except ModuleNotFoundError:
            return False

    def __init__(self, folder: Path, threads: int) -> None:
        from optimum.intel import OVModelForSeq2SeqLM

        config = {"INFERENCE_NUM_THREADS": str(threads), "PERFORMANCE_HINT": "THROUGHPUT"}
        model = OVModelForSeq2SeqLM.from_pretrained(
            folder, export=True, load_in_8bit=True, ov_config=config
        )
        super().__init__(model, threads, SIZES)
