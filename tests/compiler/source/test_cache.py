# SPDX-License-Identifier: Apache-2.0
"""Which inputs and outputs are a cache, and what the dimensions of a decoder become."""

from collections.abc import Callable

import onnx
import pytest
from onnx import helper

from compiler.compile import compile_decoder, compile_model
from compiler.ir.errors import CompileError
from compiler.source.cache import Cache, Lengths, at_lengths, caches, grows
from isa.presets import PRESETS
from tests.compiler.decoder import decoder

TINY = PRESETS["tiny_fp"]


def shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    return {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.input}


def test_pairs_and_dimensions() -> None:
    model = decoder(layers=2)
    found = caches(model, "decoder")
    assert found == [Cache(f"past_key_values.{i}.{kind}", f"present.{i}.{kind}",
                           f"present.{i}.{kind}") for i in range(2) for kind in ("key", "value")]
    fixed = at_lengths(model, found, Lengths(4, 12, 8, 20))
    assert shapes(fixed) == {
        "input_ids": [1, 4], "attention_mask": [1, 20], "position_ids": [1, 4],
        **{c.past: [1, 2, 16, 8] for c in found}}
    assert [o.name for o in fixed.graph.output] == ["logits"]
    assert shapes(model)["input_ids"] == [0, 0], "the model itself is as it was"


def test_slots_that_are_an_input() -> None:
    model = decoder(scatter=True)
    found = caches(model, "decoder")
    assert found == [Cache(f"past_key_values.0.{kind}", f"present.0.{kind}", f"present.0.{kind}",
                           "write_indices") for kind in ("key", "value")]
    fixed = at_lengths(model, found, Lengths(4, 12, 8, 20))
    assert shapes(fixed)["past_key_values.0.key"] == [1, 2, 16, 8]
    assert "write_indices" not in shapes(fixed) and grows(model)
    assert [helper.get_attribute_value(a) for n in fixed.graph.node if n.output[0] in
            ("present.0.key", "present.0.value") for a in n.attribute] == [2, 2]
    assert not [n for n in fixed.graph.node if n.op_type == "TensorScatter"]


@pytest.mark.parametrize("change", [
    lambda m, n: n.attribute.append(helper.make_attribute("mode", "circular")),
    lambda m, n: n.input.pop(),
    lambda m, n: n.input.__setitem__(2, "constant_0"),
    lambda m, n: m.graph.node.append(helper.make_node("Shape", [n.input[0]], ["shape"])),
    lambda m, n: next(i for i in m.graph.input if i.name == n.input[0]
                      ).type.tensor_type.shape.dim[2].CopyFrom(
        onnx.TensorShapeProto.Dimension(dim_value=64))])
def test_other_slots_are_refused(change: Callable) -> None:
    model = decoder(scatter=True)
    change(model, next(n for n in model.graph.node if n.op_type == "TensorScatter"))
    refuse(model, "TensorScatter.*whose write_indices are an input")


def test_a_scatter_that_is_no_cache() -> None:
    tensors = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in (
        ("x", onnx.TensorProto.FLOAT, [1, 2, 8, 4]), ("new", onnx.TensorProto.FLOAT, [1, 2, 1, 4]),
        ("at", onnx.TensorProto.INT64, [1]), ("y", onnx.TensorProto.FLOAT, [1, 2, 8, 4]))]
    model = helper.make_model(
        helper.make_graph([helper.make_node("TensorScatter", ["x", "new", "at"], ["y"])], "net",
                          tensors[:3], tensors[3:]),
        opset_imports=[helper.make_opsetid("", 24)], ir_version=11)
    with pytest.raises(CompileError, match="TensorScatter.*no definition by operators of opset 20"):
        compile_model(model, TINY, precision="fp16", allow_host=("all",))


def test_an_output_behind_an_identity() -> None:
    model = decoder()
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            if name == "present.0.key":
                node.input[i] = "joined"
    join = next(n for n in model.graph.node if n.output[0] == "present.0.key")
    join.output[0] = "joined"
    model.graph.node.append(helper.make_node("Identity", ["joined"], ["present.0.key"]))
    assert Cache("past_key_values.0.key", "present.0.key", "joined") in caches(model, "decoder")


def test_it_grows_unless_its_length_is_fixed() -> None:
    model = decoder()
    assert grows(model)
    with pytest.raises(CompileError, match="makalu compile --context"):
        compile_model(model, TINY, precision="fp16", allow_host=("all",))
    lengths = Lengths(4, 12, 8, 20)
    assert not grows(at_lengths(model, caches(model, "decoder"), lengths))


def refuse(model: onnx.ModelProto, message: str, **options: object) -> None:
    with pytest.raises(CompileError, match=message):
        compile_decoder(model, TINY, **{"context": 16, "prefill": 4, "allow_host": ("all",),
                                        **options})  # type: ignore[arg-type]


def test_refused() -> None:
    refuse(decoder(), "the machine keeps caches of floats", precision="int8")
    refuse(decoder(), "there is no token in it", context=0)
    refuse(decoder(), r"Gather.*--host", allow_host=())


def test_without_a_cache() -> None:
    model = decoder()
    for node in model.graph.node:
        if node.op_type == "Concat" and node.output[0].startswith("present"):
            node.input[0], node.input[1] = node.input[1], node.input[0]
    refuse(model, "no key-value cache")


def test_a_past_that_others_read() -> None:
    model = decoder()
    model.graph.node.append(helper.make_node("Neg", ["past_key_values.0.key"], ["negative"]))
    refuse(model, "past_key_values.0.key.*does not read as")


def by_length(model: onnx.ModelProto) -> onnx.ModelProto:
    """Positions from the length of the past, as some exporters make them."""
    del model.graph.input[2]
    first = model.graph.node
    ends = [helper.make_node("Shape", [name], [f"shape_{name}"], start=1, end=2)
            for name in ("attention_mask", "input_ids")]
    scalars = [helper.make_node("Squeeze", [f"shape_{n}"], [f"count_{n}"])
               for n in ("attention_mask", "input_ids")]
    rest = [helper.make_node("Sub", ["count_attention_mask", "count_input_ids"], ["from"]),
            helper.make_node("Constant", [], ["step"], value_int=1),
            helper.make_node("Range", ["from", "count_attention_mask", "step"], ["row"]),
            helper.make_node("Constant", [], ["axis"], value_ints=[0]),
            helper.make_node("Unsqueeze", ["row", "axis"], ["position_ids"])]
    nodes = [*ends, *scalars, *rest, *first]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def test_positions_that_come_from_the_length() -> None:
    refuse(by_length(decoder()), "depends on the length of its cache")


def test_without_a_mask() -> None:
    model = decoder()
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            if name == "attention_mask":
                node.input[i] = "seen"
    model.graph.input[1].name = "seen"
    refuse(model, "no attention mask")


def test_lengths_that_are_fixed() -> None:
    model = decoder()
    model.graph.input[3].type.tensor_type.shape.dim[2].dim_value = 7
    refuse(model, "does not run with a cache of any length")


def test_a_function_of_a_cache() -> None:
    model = decoder()
    turn = next(n for n in model.graph.node if n.input[0] == "present.0.key")
    model.graph.node.insert(list(model.graph.node).index(turn), helper.make_node(
        "Tanh", ["present.0.key"], ["function"], name="function"))
    turn.input[0] = "function"
    compile_decoder(model, TINY, context=16, prefill=4, allow_host=("all",))
    refuse(model, "compile for a single context", context=(8, 16))
