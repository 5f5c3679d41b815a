# SPDX-License-Identifier: Apache-2.0
"""Sessions on a device that is a few lines of Python: names, pieces, host graphs, messages."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from isa.instructions import Region
from isa.presets import PRESETS
from runtime.device import Device, Result
from runtime.ports import InputError
from runtime.session import Session
from tests.sim import standin

TINY = PRESETS["tiny"]
SHAPE = (2, 3, 5, 6)


class AddOne(Device):
    """A device that adds one to every byte."""

    name, config = "add-one", TINY

    def load(self, program):
        program.check(self.config)
        self.executions = 0

    def execute(self, inputs):
        self.executions += 1
        return Result(inputs + np.uint8(1), {"CYCLES": 7})


def program(shape=SHAPE):
    return standin.program(TINY, shape)


def quantize_edge(shape, name_in, name_out, operator, types):
    scale = helper.make_tensor("s", TensorProto.FLOAT, [], [0.5])
    zero = helper.make_tensor("z", TensorProto.UINT8, [], [10])
    graph = helper.make_graph(
        [helper.make_node(operator, [name_in, "s", "z"], [name_out])], "edge",
        [helper.make_tensor_value_info(name_in, types[0], shape)],
        [helper.make_tensor_value_info(name_out, types[1], shape)], [scale, zero])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def test_batches_run_in_pieces():
    device = AddOne()
    session = Session(program(), device)
    seen = []
    x = standin.noise((5, 3, 5, 6))
    y = session.run(x, progress=lambda done, total: seen.append((done, total)))["y"]
    assert np.array_equal(y, x + np.uint8(1))
    assert device.executions == 3 and seen == [(2, 5), (4, 5), (5, 5)]
    assert session.counters == [{"CYCLES": 7}] * 3


def test_host_graphs_on_both_edges():
    p = program()
    shape = list(SHAPE)
    p.host_pre = quantize_edge(shape, "image", "x", "QuantizeLinear",
                               (TensorProto.FLOAT, TensorProto.UINT8))
    p.host_post = quantize_edge(shape, "y", "logits", "DequantizeLinear",
                                (TensorProto.UINT8, TensorProto.FLOAT))
    session = Session(p, AddOne())
    x = np.arange(180, dtype=np.float32).reshape(SHAPE) / 2
    y = session.run({"image": x})["logits"]
    assert [str(port) for port in session.inputs] == ["image: float32 [2, 3, 5, 6]"]
    assert y.dtype == np.float32 and np.array_equal(y, x + 0.5)


def test_an_input_with_two_buffers():
    p = program()
    (b,) = p.inputs
    p.inputs = [b, replace(b, offset=b.size)]
    p.region_sizes[Region.INPUT] = 2 * b.size
    x = standin.noise(SHAPE)
    assert np.array_equal(Session(p, AddOne()).run(x)["y"], x + np.uint8(1))
    assert [str(port) for port in Session(p, AddOne()).inputs] == ["x: uint8 [2, 3, 5, 6]"]


@pytest.mark.parametrize("inputs,words", [
    ({"z": np.zeros(SHAPE, np.uint8)}, r"has no input 'z'; it takes x: uint8 \[2, 3, 5, 6\]"),
    ({}, r"is missing input 'x'; it takes x: uint8"),
    ({"x": np.zeros(SHAPE, np.float32)}, r"takes x: uint8 .* got float32 \[2, 3, 5, 6\]"),
    ({"x": np.zeros((2, 3, 6, 5), np.uint8)}, r"takes x: uint8 .* got uint8 \[2, 3, 6, 5\]"),
    ({"x": np.zeros((3, 5, 6), np.uint8)}, r"got uint8 \[3, 5, 6\]"),
    ({"x": np.zeros((0, 3, 5, 6), np.uint8)}, r"got uint8 \[0, 3, 5, 6\]"),
])
def test_wrong_inputs_say_what_is_right(inputs, words):
    with pytest.raises(InputError, match=words):
        Session(program(), AddOne()).run(inputs)


def test_inputs_of_unlike_batches() -> None:
    """Two are enough to differ."""
    p = program()
    half = p.inputs[0].size // 2
    p.inputs = [replace(p.inputs[0], name=name, shape=(1, *SHAPE[1:]), size=half, offset=at)
                for name, at in (("a", 0), ("b", half))]
    session = Session(p, AddOne())
    one, three = standin.noise((1, *SHAPE[1:])), standin.noise((3, *SHAPE[1:]))
    with pytest.raises(InputError, match="the inputs differ in their first dimension.*'b': 3"):
        session.run({"a": one, "b": three})


def test_inputs_whose_first_axes_are_no_batches() -> None:
    """They are taken as they are, and no others."""
    p = program((3, 3, 5, 6))
    size = p.inputs[0].size // 3
    p.inputs = [replace(p.inputs[0], name=name, shape=(n, *SHAPE[1:]), nchw=(n, *SHAPE[1:]),
                        view=(n, *SHAPE[1:]), size=n * size, offset=at)
                for name, n, at in (("a", 1, 0), ("b", 2, size))]
    session, one, two = Session(p, AddOne()), *(standin.noise((n, *SHAPE[1:])) for n in (1, 2))
    y = session.run({"a": one, "b": two})["y"]
    assert np.array_equal(y, np.concatenate([one, two]) + np.uint8(1))
    with pytest.raises(InputError, match=r"takes b: uint8 \[2, 3, 5, 6\]; got uint8 \[4, 3, 5, 6"):
        session.run({"a": one, "b": np.concatenate([two, two])})


def test_golden_device_maps_faults():
    from isa.instructions import Fault, Instruction, Opcode, assembled
    from runtime.device import DeviceFault
    from runtime.golden_device import GoldenDevice

    p = program()
    p.image = assembled([
        Instruction(Opcode.LOAD, {"region": Region.INPUT, "spm": TINY.spm_words - 1,
                                  "n0": 2, "n1": 1, "n2": 1, "n3": 1}), Instruction(Opcode.END)])
    p.node_of = [0, -1]
    told = "instruction 0 .node 'conv1'., LOAD engine: address outside"
    with pytest.raises(DeviceFault, match=told) as e:
        Session(p, GoldenDevice(TINY)).run(standin.noise(SHAPE))
    assert e.value.code is Fault.SPM_RANGE and e.value.node == "conv1"


def test_golden_device_runs_a_copy():
    from isa.instructions import Instruction, Opcode, assembled
    from runtime.golden_device import GoldenDevice

    p = program()
    words = p.region_sizes[Region.INPUT] // TINY.word_bytes
    copy = {"n0": words, "n1": 1, "n2": 1, "n3": 1}
    p.image = assembled([
        Instruction(Opcode.LOAD, {**copy, "region": Region.INPUT}),
        Instruction(Opcode.STORE, {**copy, "region": Region.OUTPUT, "wait_mask": 1,
                                   "wait_load": 1}),
        Instruction(Opcode.END)])
    p.instruction_count, p.node_of = 3, [-1, -1, -1]
    x = standin.noise((4, 3, 5, 6))
    assert np.array_equal(Session(p, GoldenDevice(TINY)).run(x)["y"], x)
