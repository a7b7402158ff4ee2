"""The parts of a transformer layer in OpenVINO's operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textmill.engines.openvino.stack import Stack
from textmill.errors import CorruptModel, UnsupportedModel
from textmill.words import written

Node = Any
"""A node of a graph, or one of its outputs."""

Arrays = Mapping[str, NDArray[np.float32]]


class Layers:
    """Writes the layers of one stack, weights included. Tensors are [rows, tokens, d_model].

    int8: weight matrices are kept as signed bytes with one scale for each output.
    """

    def __init__(self, stack: Stack, arrays: Arrays, *, int8: bool) -> None:
        from openvino import opset15

        self._ops, self._arrays, self._int8 = opset15, arrays, int8
        self.stack = stack

    def linear(self, x: Node, *paths: str) -> Node:
        """The projection at `paths`; several are computed as one and stand side by side."""
        weight = _stacked([self._arrays[f"{path}.weight"] for path in paths])
        out = self._ops.matmul(x, self.matrix(weight), False, True)
        if f"{paths[0]}.bias" in self._arrays:
            bias = _stacked([self._arrays[f"{path}.bias"] for path in paths])
            out = self._ops.add(out, constant(bias))
        return out

    def matrix(self, weight: NDArray[np.float32]) -> Node:
        """A weight matrix [outputs, inputs]. Raises `CorruptModel` for one that is not finite."""
        if not np.isfinite(weight).all():
            raise CorruptModel(
                "a weight matrix of the model holds NaN or infinity",
                hint="the file is damaged, or was saved from a training run that diverged",
            )
        if not self._int8:
            return constant(weight)
        quantized, scale = quantize(weight)
        return self._ops.multiply(
            self._ops.convert(constant(quantized), "f32"), constant(scale[:, None])
        )

    def norm(self, x: Node, path: str) -> Node:
        """The norm at `path`."""
        weight = constant(self._arrays[f"{path}.weight"])
        if self.stack.rms:
            return self._rms(x, weight)
        ops = self._ops
        normal = ops.mvn(x, constant(np.array([-1])), True, self.stack.epsilon, "INSIDE_SQRT")
        return ops.add(ops.multiply(normal, weight), constant(self._arrays[f"{path}.bias"]))

    def _rms(self, x: Node, weight: Node) -> Node:
        ops = self._ops
        mean = ops.reduce_mean(ops.power(x, number(2.0)), constant(np.array([-1])), True)
        root = ops.sqrt(ops.add(mean, number(self.stack.epsilon)))
        return ops.multiply(weight, ops.multiply(x, ops.divide(number(1.0), root)))

    def final_norm(self, x: Node) -> Node:
        """The norm behind the stack, where it has one."""
        path = f"{self.stack.name}.norm"
        return self.norm(x, path) if f"{path}.weight" in self._arrays else x

    def embedding_norm(self, x: Node) -> Node:
        """The norm of the embeddings, where they have one."""
        path = f"{self.stack.name}.embed_norm"
        return self.norm(x, path) if f"{path}.weight" in self._arrays else x

    def block(self, x: Node, path: str, inner: Any) -> Node:
        """`inner` of x with the residual connection and norm of the block at `path`."""
        if self.stack.pre_norm:
            return self._ops.add(x, inner(self.norm(x, f"{path}.norm")))
        return self.norm(self._ops.add(x, inner(x)), f"{path}.norm")

    def feed_forward(self, x: Node, path: str) -> Node:
        """The feed-forward block at `path`, residual and norm included."""

        def inner(y: Node) -> Node:
            hidden = self._activate(self.linear(y, f"{path}.wi"))
            if f"{path}.wi_gate.weight" in self._arrays:
                hidden = self._ops.multiply(hidden, self.linear(y, f"{path}.wi_gate"))
            return self.linear(hidden, f"{path}.wo")

        return self.block(x, path, inner)

    def queries(self, x: Node, path: str) -> Node:
        """Scaled queries [rows, heads, tokens, head size] of the attention at `path`."""
        queries = self.linear(x, f"{path}.q")
        if self.stack.query_scale != 1.0:
            queries = self._ops.multiply(queries, number(self.stack.query_scale))
        return self.split_heads(queries)

    def heads_of(self, x: Node, path: str, letters: str) -> list[Node]:
        """Several projections of x in one product, each [rows, heads, tokens, size]."""
        ops, stack = self._ops, self.stack
        joined = self.linear(x, *(f"{path}.{letter}" for letter in letters))
        shape = constant(np.array([0, 0, len(letters), stack.heads, stack.head_size]))
        parts = ops.transpose(ops.reshape(joined, shape, True), constant(np.array([2, 0, 3, 1, 4])))
        split = ops.split(parts, constant(np.array(0)), len(letters))
        heads = [ops.squeeze(split.output(n), constant(np.array([0]))) for n in range(len(letters))]
        if "q" in letters and stack.query_scale != 1.0:
            heads[0] = ops.multiply(heads[0], number(stack.query_scale))
        return heads

    def split_heads(self, x: Node) -> Node:
        """[rows, tokens, heads * size] to [rows, heads, tokens, size]."""
        shape = constant(np.array([0, 0, self.stack.heads, self.stack.head_size]))
        return self._ops.transpose(self._ops.reshape(x, shape, True), _SWAP())

    def join_heads(self, x: Node) -> Node:
        """[rows, heads, tokens, size] to [rows, tokens, heads * size]."""
        shape = constant(np.array([0, 0, self.stack.heads * self.stack.head_size]))
        return self._ops.reshape(self._ops.transpose(x, _SWAP()), shape, True)

    def _activate(self, x: Node) -> Node:
        ops, name = self._ops, self.stack.activation
        if name in _ERF:
            return ops.gelu(x, "erf")
        if name in _TANH:
            return ops.gelu(x, "tanh")
        if name == "relu":
            return ops.relu(x)
        if name in _SWISH:
            return ops.swish(x)
        if name == "quick_gelu":
            return ops.multiply(x, ops.sigmoid(ops.multiply(x, number(1.702))))
        raise UnsupportedModel(
            f"the openvino engine has no activation {written(name)}", hint="try --engine ct2"
        )


_ERF = {"gelu", "gelu_python"}
_TANH = {"gelu_new", "gelu_fast", "gelu_pytorch_tanh"}
_SWISH = {"silu", "swish"}


def constant(array: NDArray[Any]) -> Node:
    """A constant that shares the array's memory, or has a copy of what is a view of a file."""
    from openvino.op import Constant

    own = np.require(array, requirements=("C", "W"))  # OpenVINO shares writable arrays only
    return Constant(own, shared_memory=True)


def number(value: float) -> Node:
    """A float32 scalar."""
    from openvino import opset15

    return opset15.constant(np.float32(value))


def _SWAP() -> Node:  # noqa: N802
    return constant(np.array([0, 2, 1, 3]))


def quantize(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 with one scale for each row: weight = quantized * scale."""
    largest = np.maximum(weight.max(axis=1), -weight.min(axis=1))
    scale = np.maximum(largest, np.finfo(np.float32).tiny) / np.float32(127)
    return np.rint(weight / scale[:, None]).astype(np.int8), scale


def _stacked(parts: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
