# SPDX-License-Identifier: Apache-2.0
"""The Python interface as one types it."""

import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest

import makalu
from examples.digits import FP32, INT8, held_out


@pytest.fixture(scope="module")
def session() -> makalu.Session:
    program = makalu.compile(INT8, "tiny", host=("all",))
    return makalu.Session(program, makalu.open_device("golden", program.config))


def test_a_session_is_used_as_one_of_onnx_runtime(session):
    theirs = onnxruntime.InferenceSession(INT8, providers=["CPUExecutionProvider"])
    for mine, other in ((session.get_inputs(), theirs.get_inputs()),
                        (session.get_outputs(), theirs.get_outputs())):
        assert [(p.name, p.type) for p in mine] == [(p.name, p.type) for p in other]
        assert [len(p.shape) for p in mine] == [len(p.shape) for p in other]
    images = held_out()[0][:2]
    by_name = session.run({"image": images})
    (logits,) = session.run(None, {"image": images})
    assert (logits == by_name["logits"]).all() and logits.shape == (2, 10)
    assert (session.run(["logits"], {"image": images})[0] == logits).all()
    with pytest.raises(makalu.InputError, match="no output 'nothing'; it gives logits: float32"):
        session.run(["nothing"], {"image": images})


def test_what_is_printed_says_what_it_is(session):
    program = session.program
    assert repr(program).startswith("<Program digits_int8 for tiny, int8: ")
    assert f"{program.instruction_count:,} instructions" in repr(program)
    assert repr(program.config).startswith("<Config tiny: 1 x 4 x 4 multipliers, scratchpad of ")
    assert repr(session) == ("<Session of digits_int8 on golden tiny: takes image: float32 "
                             "[1, 1, 16, 16]; gives logits: float32 [1, 10]>")
    assert repr(session.inputs) == "[<Port image: float32 [1, 1, 16, 16]>]"
    buffer = program.inputs[0]
    assert f"{buffer.size:,} bytes at 0x0 of region INPUT>" in repr(buffer)
    assert all(len(repr(thing)) < 200 for thing in (program, program.config, session, buffer))


def test_errors_and_tools_are_in_the_package(session):
    with pytest.raises(makalu.CompileError, match="there is no such file"):
        makalu.compile("nothing.onnx")
    run = makalu.profile(session.program)
    assert run.counters["CYCLES"] > 0
    assert makalu.bisect(session.program) is None
    rows = makalu.accuracy(FP32, makalu.load_config("tiny_fp"), {"image": held_out()[0][:4]},
                           precisions=("fp16",))
    assert [r["precision"] for r in rows] == ["fp32", "fp16"] and rows[1]["sqnr_db"] > 50
    assert all(hasattr(makalu, name) for name in makalu.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        makalu.nothing  # noqa: B018


def test_importing_is_quick_and_loads_neither_compiler_nor_simulator():
    code = ("import makalu, sys; assert not {'compiler', 'amaranth', 'matplotlib'} & "
            "{m.split('.')[0] for m in sys.modules}")
    subprocess.run([sys.executable, "-c", code], check=True)


def test_quantized_inputs_say_how(tmp_path):
    """A port of integers knows its scale; one of numbers has none."""
    program = makalu.compile(INT8, "tiny", host=("all",))
    bare = makalu.Session(
        type(program)(**{**vars(program), "host_pre": b"", "host_post": b""}),
        makalu.open_device("golden", "tiny"))
    port = bare.get_inputs()[0]
    assert port.type == "tensor(int8)" and port.scale == program.inputs[0].scale > 0
    assert np.dtype(port.dtype) == np.int8


def test_a_network_without_products_on_the_machine_warns():
    """The host does all that multiplies; the machine moves what comes behind it."""
    def info(name, shape):
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
    nodes = [onnx.helper.make_node("Gemm", ["x", "x"], ["a"]),
             onnx.helper.make_node("Relu", ["a"], ["b"]),
             onnx.helper.make_node("Neg", ["b"], ["y"])]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "square", [info("x", [4, 4])], [info("y", [4, 4])]),
        ir_version=10, opset_imports=[onnx.helper.make_opsetid("", 20)])
    with pytest.warns(UserWarning, match="0 MACs of square are on tiny_fp"):
        program = makalu.compile(model, "tiny_fp", precision="fp16", host=["all"])
    assert {p["op"]: p["engine"] for p in program.placement}["Neg"] != "host"
