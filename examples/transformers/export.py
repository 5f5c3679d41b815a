# SPDX-License-Identifier: Apache-2.0
"""From PyTorch to the files that this folder ships, whose weights are binary16 behind a Cast."""

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from examples.transformers.gpt import BLOCKS, Generator, empty

OPSET = 20
SMALL = 64
"""Elements of a constant that stays as it is."""


class _Named(nn.Module):
    """The generator with every key and value an input and an output of its own."""

    def __init__(self, model: Generator):
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor,
                position_ids: torch.Tensor, *past: torch.Tensor) -> tuple[torch.Tensor, ...]:
        pairs = list(zip(past[::2], past[1::2]))
        logits, present = self.model(input_ids, attention_mask, position_ids, pairs)
        return logits, *(t for pair in present for t in pair)


def export_generator(model: Generator, path: Path) -> None:
    """With the names that Hugging Face's exporters give, any number of tokens and any past."""
    tokens, past = torch.zeros(1, 3, dtype=torch.int64), 5
    caches = [t for pair in empty(1, past) for t in pair]
    kinds = [f"{i}.{kind}" for i in range(BLOCKS) for kind in ("key", "value")]
    inputs = ["input_ids", "attention_mask", "position_ids",
              *(f"past_key_values.{kind}" for kind in kinds)]
    outputs = ["logits", *(f"present.{kind}" for kind in kinds)]
    axes = {"input_ids": {0: "batch", 1: "tokens"}, "position_ids": {0: "batch", 1: "tokens"},
            "attention_mask": {0: "batch", 1: "total"}, "logits": {0: "batch", 1: "tokens"},
            **{f"past_key_values.{kind}": {0: "batch", 2: "past"} for kind in kinds},
            **{f"present.{kind}": {0: "batch", 2: "total"} for kind in kinds}}
    with torch.no_grad():
        torch.onnx.export(
            _Named(model).eval(),
            (tokens, torch.ones(1, past + 3, dtype=torch.int64), tokens, *caches), path,
            input_names=inputs, output_names=outputs, dynamic_axes=axes, opset_version=OPSET,
            dynamo=False)
    store(path)


def export_images(model: nn.Module, path: Path, shape: tuple[int, ...]) -> None:
    """A classifier of pictures, for any batch."""
    with torch.no_grad():
        torch.onnx.export(model.eval(), (torch.zeros(2, *shape),), path, input_names=["image"],
                          output_names=["logits"], opset_version=OPSET, dynamo=False,
                          dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}})
    store(path)


def store(path: Path) -> None:
    """Write a model again with its weights in half the bytes, which hold them exactly."""
    model = onnx.load(path)
    casts = []
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or value.size < SMALL:
            continue
        half = value.astype(np.float16)
        assert (half == value).all(), f"{tensor.name} is not rounded to binary16"
        name = f"{tensor.name}:binary16"
        casts.append(helper.make_node("Cast", [name], [tensor.name], name=f"{tensor.name}:cast",
                                      to=TensorProto.FLOAT))
        tensor.CopyFrom(numpy_helper.from_array(half, name))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.doc_string = ""
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
