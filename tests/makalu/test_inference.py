# SPDX-License-Identifier: Apache-2.0
"""A session as ONNX Runtime has it."""

import numpy as np
import onnxruntime
import pytest

import makalu
from examples.digits import INT8, held_out


def test_it_takes_the_place_of_an_onnx_runtime_session():
    images, labels = held_out()
    theirs = onnxruntime.InferenceSession(INT8)
    with makalu.InferenceSession(INT8, config="tiny") as ours:
        assert [(p.name, p.type) for p in ours.get_inputs()] == [
            (p.name, p.type) for p in theirs.get_inputs()]
        feeds = {ours.get_inputs()[0].name: images[:8]}
        got = ours.run(None, feeds)[0]
    want = np.concatenate([theirs.run(None, {k: v[i:i + 1] for k, v in feeds.items()})[0]
                           for i in range(8)])
    assert got.shape == want.shape and got.dtype == want.dtype
    assert (got.argmax(1) == want.argmax(1)).all() and (got.argmax(1) == labels[:8]).mean() > 0.8


def test_a_program_file_has_its_own_machine(tmp_path):
    path = tmp_path / "digits.mkl"
    makalu.compile(INT8, "tiny", host=("all",)).save(path)
    session = makalu.InferenceSession(str(path))
    assert session.program.config.name == "tiny"
    session.close()


def test_what_the_host_may_run_can_be_narrowed():
    with pytest.raises(makalu.CompileError, match="QuantizeLinear"):
        makalu.InferenceSession(INT8, host=())


def test_options_are_those_of_compile():
    images, _ = held_out()
    fp32 = INT8.with_name("digits_fp32.onnx")
    with makalu.InferenceSession(fp32, "tiny_fp", precision="fp16") as session:
        name = session.get_inputs()[0].name
        got = session.run(None, {name: images[:1]})[0]
    want = onnxruntime.InferenceSession(fp32).run(None, {name: images[:1]})[0]
    np.testing.assert_allclose(got, want, rtol=2e-2, atol=2e-2 * np.abs(want).max())
