"""The two graphs of a model: texts to cross-attention caches, and one step of the decoder.

Names of tensors are the contract with `network.py`. L is the number of decoder layers, H heads,
D head size; caches are in the cache type of the precision.

encoder  in   embedded [rows, tokens, d_model], mask [rows, 1, 1, tokens], with relative positions
              bias.N [1, H, tokens, tokens]
         out  caches [2 * L, rows, H, tokens, D], keys and values of each decoder layer in turn
step     in   embedded [slots, width, d_model], source_mask [slots, 1, 1, source],
              past_mask [slots, 1, width, past], with relative positions bias.N [slots, H, 1, past],
              source_key.N, source_value.N [slots, H, source, D],
              past_key.N, past_value.N [slots, H, past, D]
         out  logits [slots, width, vocabulary], key.N, value.N [slots, H, width, D]
"""

from __future__ import annotations

from typing import Any

import numpy as np

from textmill.engines.openvino.layers import Arrays, Layers, Node, constant, number
from textmill.engines.openvino.stack import Stack


class _Graph:
    """Inputs and outputs of a graph that is being written."""

    def __init__(self) -> None:
        self._inputs: list[Node] = []
        self._outputs: list[Node] = []

    def take(self, name: str, shape: list[int], kind: Any) -> Node:
        """A new input; -1 stands for any size."""
        from openvino import opset15

        node = opset15.parameter(shape, kind, name=name)
        node.output(0).get_tensor().set_names({name})
        self._inputs.append(node)
        return node

    def give(self, name: str, node: Node) -> None:
        """A new output."""
        from openvino import opset15

        result = opset15.result(node)
        result.output(0).get_tensor().set_names({name})
        self._outputs.append(result)

    def model(self, name: str) -> Any:
        from openvino import Model

        return Model(self._outputs, self._inputs, name)


class GraphWriter:
    """Writes both graphs from a checkpoint's arrays."""

    def __init__(
        self,
        encoder: Stack,
        decoder: Stack,
        arrays: Arrays,
        *,
        int8: bool,
        cache_type: Any,
    ) -> None:
        from openvino import Type, opset15

        self._ops, self._f32, self._cache_type = opset15, Type.f32, cache_type
        self._arrays = arrays
        self._encoder = Layers(encoder, arrays, int8=int8)
        self._decoder = Layers(decoder, arrays, int8=int8)
        self._d_model = arrays["encoder.embed_tokens"].shape[1]

    def encoder(self) -> Any:
        """From embedded texts to the keys and values of cross-attention."""
        graph, layers, stack = _Graph(), self._encoder, self._encoder.stack
        x = graph.take("embedded", [-1, -1, self._d_model], self._f32)
        mask = graph.take("mask", [-1, 1, 1, -1], self._f32)
        masks = [
            self._ops.add(mask, graph.take(f"bias.{n}", [1, stack.heads, -1, -1], self._f32))
            for n in range(stack.relative_bias)
        ] or [mask]
        x = layers.embedding_norm(x)
        for n in range(stack.layers):
            path = f"encoder.layers.{n}"
            x = self._attend(layers, x, f"{path}.self_attn", masks[min(n, len(masks) - 1)])
            x = layers.feed_forward(x, f"{path}.ffn")
        self._project(graph, layers.final_norm(x))
        return graph.model("encoder")

    def _attend(self, layers: Layers, x: Node, path: str, mask: Node) -> Node:
        def inner(y: Node) -> Node:
            queries, keys, values = layers.heads_of(y, path, "qkv")
            mixed = self._ops.scaled_dot_product_attention(queries, keys, values, mask, number(1.0))
            return layers.linear(layers.join_heads(mixed), f"{path}.o")

        return layers.block(x, path, inner)

    def _project(self, graph: _Graph, hidden: Node) -> None:
        """All layers' keys and values in one product."""
        ops, stack = self._ops, self._decoder.stack
        names = [f"decoder.layers.{n}.cross_attn.{x}" for n in range(stack.layers) for x in "kv"]
        joined = self._decoder.linear(hidden, *names)
        shape = constant(np.array([0, 0, len(names), stack.heads, stack.head_size]))
        parts = ops.reshape(joined, shape, True)
        order = constant(np.array([2, 0, 3, 1, 4]))
        graph.give("caches", self._cached(ops.transpose(parts, order)))

    def step(self) -> Any:
        """One token further for every slot."""
        graph, layers, stack = _Graph(), self._decoder, self._decoder.stack
        x = graph.take("embedded", [-1, -1, self._d_model], self._f32)
        source_mask = graph.take("source_mask", [-1, 1, 1, -1], self._f32)
        past_mask = graph.take("past_mask", [-1, 1, -1, -1], self._f32)
        masks = [
            self._ops.add(past_mask, graph.take(f"bias.{n}", [-1, stack.heads, 1, -1], self._f32))
            for n in range(stack.relative_bias)
        ] or [past_mask]
        x = layers.embedding_norm(x)
        for n in range(stack.layers):
            path = f"decoder.layers.{n}"
            x = self._remember(graph, n, x, masks[min(n, len(masks) - 1)])
            x = self._look_up(graph, n, x, source_mask)
            x = layers.feed_forward(x, f"{path}.ffn")
        graph.give("logits", self._logits(layers.final_norm(x)))
        return graph.model("step")

    def _remember(self, graph: _Graph, n: int, x: Node, mask: Node) -> Node:
        """Self-attention over the past, which is an input, and the token itself."""
        layers, ops = self._decoder, self._ops
        path = f"decoder.layers.{n}.self_attn"

        def inner(y: Node) -> Node:
            queries, key, value = layers.heads_of(y, path, "qkv")
            graph.give(f"key.{n}", self._cached(key))
            graph.give(f"value.{n}", self._cached(value))
            past = ops.add(self._scores(queries, self._cache(graph, f"past_key.{n}")), mask)
            own = ops.reduce_sum(ops.multiply(queries, key), constant(np.array([-1])), True)
            own = self._biased(own, n)
            weights = ops.softmax(ops.concat([past, own], -1), -1)
            sizes = constant(np.array([-1, 1]))
            split = ops.variadic_split(weights, constant(np.array(-1)), sizes)
            mixed = self._mix(split.output(0), self._cache(graph, f"past_value.{n}"))
            mixed = ops.add(mixed, ops.multiply(split.output(1), value))
            return layers.linear(layers.join_heads(mixed), f"{path}.o")

        return layers.block(x, path, inner)

    def _biased(self, own: Node, n: int) -> Node:
        """A token's distance to itself is the first row of the table."""
        tables = self._decoder.stack.relative_bias
        if not tables:
            return own
        owner = f"decoder.layers.{min(n, tables - 1)}.self_attn.relative_bias"
        first = self._arrays[owner][0].reshape(1, -1, 1, 1)
        return self._ops.add(own, constant(first))

    def _look_up(self, graph: _Graph, n: int, x: Node, mask: Node) -> Node:
        """Cross-attention; the rows of a slot share its source."""
        layers, ops = self._decoder, self._ops
        path = f"decoder.layers.{n}.cross_attn"

        def inner(y: Node) -> Node:
            queries = layers.queries(y, path)
            scores = self._scores(queries, self._cache(graph, f"source_key.{n}"))
            weights = ops.softmax(ops.add(scores, mask), -1)
            mixed = self._mix(weights, self._cache(graph, f"source_value.{n}"))
            return layers.linear(layers.join_heads(mixed), f"{path}.o")

        return layers.block(x, path, inner)

    def _scores(self, queries: Node, keys: Node) -> Node:
        return self._plain(self._ops.matmul(self._cached(queries), keys, False, True))

    def _mix(self, weights: Node, values: Node) -> Node:
        return self._plain(self._ops.matmul(self._cached(weights), values, False, False))

    def _cache(self, graph: _Graph, name: str) -> Node:
        stack = self._decoder.stack
        return graph.take(name, [-1, stack.heads, -1, stack.head_size], self._cache_type)

    def _cached(self, x: Node) -> Node:
        return x if self._cache_type == self._f32 else self._ops.convert(x, self._cache_type)

    def _plain(self, x: Node) -> Node:
        return x if self._cache_type == self._f32 else self._ops.convert(x, self._f32)

    def _logits(self, x: Node) -> Node:
        if self._decoder.stack.output_scale != 1.0:
            x = self._ops.multiply(x, number(self._decoder.stack.output_scale))
        logits = self._ops.matmul(x, self._decoder.matrix(self._arrays["lm_head"]), False, True)
        if "final_logits_bias" in self._arrays:
            logits = self._ops.add(logits, constant(self._arrays["final_logits_bias"]))
        return logits
