# SPDX-License-Identifier: Apache-2.0
"""What lowering builds: the graph so far, the machine's inputs, and the order of their elements."""

from collections.abc import Callable

import numpy as np
import onnx

from compiler.ir.errors import Unsupported
from compiler.ir.graph import Graph, Op, Tensor
from compiler.lower.values import Deq, Quantized, Storage, as_view, canonical, identity


class Builder:
    """A graph under construction.

    Parameters
    ----------
    names : list of str
        Of the ONNX nodes.
    floats : str
        Type of what is not quantized; empty in a network of integers.

    Members
    -------
    graph : Graph
        Operators in order.
    inputs : list of Storage
        What the machine reads; one input may be there in two layouts.
    node : int
        Position of the ONNX node whose operators are emitted; -1: none, at the network's edge.
    quantization : dict
        Scale and zero point of each quantized value by name, for the program's buffers.
    stored : dict
        Integers that were brought into the type ``floats``, each once
        (:func:`compiler.lower.finish.as_number`).
    requantized : dict
        What has been quantized, and how: each once.
    scores : set of str
        Results of matrix products that a softmax follows.
    tokens : function of str
        Whether what reads a value takes its last axis as channels.
    """

    def __init__(self, names: list[str], floats: str = ""):
        self.graph = Graph(names)
        self.floats = floats
        self.inputs: list[Storage] = []
        self.node = 0
        self.quantization: dict[str, tuple[np.float32, int]] = {}
        self.stored: dict[tuple, Deq] = {}
        self.requantized: dict[tuple, Storage] = {}
        self.scores: set[str] = set()
        self.tokens: Callable[[str], bool] = lambda name: False

    def new_input(self, name: str, shape: tuple[int, ...], dtype: str, tokens: bool = False
                  ) -> Quantized:
        """A graph input that the machine reads; its layout is open. If nobody asks for another one,
        the channels are the second axis, or of ``tokens`` the last."""
        storage = Storage(name, tuple(shape), dtype, tokens=tokens)
        self.inputs.append(storage)
        return Quantized(name, storage, identity(shape))

    def constant(self, data: np.ndarray, dtype: str) -> Quantized:
        """A tensor of integers or patterns that the program holds; its layout is open."""
        name = f"{self.graph.nodes[self.node]}:constant"
        return Quantized(name, Storage(name, data.shape, dtype, data=data), identity(data.shape))

    def emit(self, op: Op) -> Quantized:
        """Append an operator; its result in NCHW."""
        self.graph.ops.append(op)
        return Quantized(op.y.name, Storage(op.y.name, op.y.nchw, op.y.dtype, op.y),
                         identity(op.y.nchw))

    def bind(self, storage: Storage, order: np.ndarray) -> bool:
        """Fix the layout of a graph input or a constant: ``order`` (4-D) are its elements in
        NCHW."""
        if order.size != int(np.prod(storage.shape)) or (order < 0).any():
            return False
        if storage.bind is not None:
            storage.tensor = storage.bind(order)
            if storage.tensor is None:
                return False
        elif storage.data is None:
            found = as_view(order)
            if found is None:
                return False
            storage.view, storage.perm = found
        storage.tensor = storage.tensor or Tensor(storage.name, tuple(order.shape), storage.dtype)
        if storage.data is not None:
            self.graph.constants[storage.tensor] = storage.data.ravel()[order]
        position = np.empty(order.size, np.int32)
        position[order.ravel()] = np.arange(order.size, dtype=np.int32)
        storage.position = position
        return True

    def settle(self, q: Quantized) -> Tensor:
        """The machine tensor behind a value, in the order of its ONNX shape if that is open."""
        if q.storage.tensor is None:
            shape = canonical(q.storage.shape)
            if shape is None:
                raise Unsupported(f"it works on a graph input of {len(q.storage.shape)} dimensions",
                                  "reshape it to four or less")
            order = identity(q.storage.shape)
            if q.storage.bind is not None:
                order, shape = order.transpose(0, 1, 3, 2), (1, shape[1] * shape[3], 1, shape[2])
            mask = order.ndim == 4 and order.shape[:2] == (1, 1)
            self.bind(q.storage, order.reshape(-1, order.shape[-1]).T[None, :, None, :]
                      if q.storage.tokens and (order.ndim == 3 or mask) else order.reshape(shape))
        assert q.storage.tensor is not None
        return q.storage.tensor


Handler = Callable[[Builder, onnx.NodeProto, list], list]
"""Lowers one operator: the values of its inputs become those of its outputs."""

Handlers = dict[str, Handler]
"""Handlers by operator; one of another domain than ONNX's is ``domain.operator``."""
