# SPDX-License-Identifier: Apache-2.0
"""No file crashes a reader: it is refused in a sentence, stopped by the machine, or runs."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from isa.layout import pack, unpack
from isa.presets import PRESETS
from isa.program import ProgramError
from runtime.golden_device import GoldenDevice
from runtime.session import Session
from tests.runtime.program_fuzz import fuzz, originals, outcome
from tests.sim import standin

TINY = PRESETS["tiny"]


def check(count: int, seed: int) -> None:
    """Damage is noticed, and files that pass for whole are refused, stopped and run: all happen."""
    found = fuzz(count, seed)
    assert found["damaged, refused"] > 0.99 * count / 2      # a few are as they were
    assert min(found[f"crafted, {end}"] for end in ("refused", "refused by the session", "run",
                                                    "stopped by the machine")) > count // 1000


def test_files() -> None:
    assert [outcome(data) for data in originals()] == ["run"] * 4
    check(2_000, 1)


@pytest.mark.long
def test_many_files() -> None:
    check(100_000, 2)


def test_pitches_that_leave_the_buffer() -> None:
    """What a file's pitches span is cut out of the buffer's own bytes, or not at all."""
    (b,) = standin.program(TINY, (1, 4, 2, 2)).outputs
    memory = np.arange(b.size, dtype=np.uint8)
    for name, value in (("row_pitch", 1 << 20), ("row_pitch", -8), ("block_pitch", 1 << 40),
                        ("n_pitch", 1 << 62), ("size", 8)):
        wrong = standin.program(TINY, (1, 4, 2, 2)).outputs[0]
        object.__setattr__(wrong, name, value)
        with pytest.raises((ValueError, MemoryError)):
            unpack(wrong, memory, TINY.word_bytes)
        with pytest.raises((ValueError, MemoryError)):
            pack(wrong, np.zeros((1, 4, 2, 2), np.uint8), TINY.word_bytes)


def model(*, shape: list[int] | None = None, external: bool = False) -> bytes:
    """A part for the host that adds a constant to ``image``, which gives ``x``."""
    shape = [1, 4, 8, 8] if shape is None else shape
    one = helper.make_tensor("one", TensorProto.UINT8, [1], [1])
    if external:
        one.ClearField("int32_data")
        one.data_location = TensorProto.EXTERNAL
        one.external_data.add(key="location", value="pyproject.toml")
    graph = helper.make_graph(
        [helper.make_node("BitwiseXor", ["image", "one"], ["x"])], "pre",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("x", TensorProto.UINT8, shape)], [one])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)],
                             ir_version=10).SerializeToString()


@pytest.mark.parametrize("side", ["host_pre", "host_post"])
@pytest.mark.parametrize("data,says", [
    (b"garbage", "does not run"), (model()[:40], "does not run"),
    (model(external=True), "a constant lies in another file"),
    (model(shape=[-1, 4, 8, 8]), "a dimension of 'image' is negative")])
def test_garbage_for_the_host(side: str, data: bytes, says: str) -> None:
    p = standin.program(TINY)
    setattr(p, side, data)
    with pytest.raises(ProgramError, match=f"for the host .*{says}.*compile the model again"):
        Session(p, GoldenDevice(TINY))


def test_parts_for_the_host_that_do_not_fit() -> None:
    p = standin.program(TINY)
    p.host_pre = model(shape=[1, 4, 8, 9])
    with pytest.raises(ProgramError, match=r"input 'x': expected uint8 \[1, 4, 8, 8\], got uint8"):
        Session(p, GoldenDevice(TINY)).run(np.zeros((1, 4, 8, 9), np.uint8))
    p = standin.program(TINY)
    p.host_post = model()
    with pytest.raises(ProgramError, match="nothing makes 'image', which it reads"):
        Session(p, GoldenDevice(TINY))
