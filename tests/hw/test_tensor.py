# SPDX-License-Identifier: Apache-2.0
"""The tensor engine against the golden model: the whole scratchpad afterwards, bit for bit."""

import numpy as np
import pytest

from golden.fault import MachineFault
from golden.tensor import Tensor
from hw.tensor import TensorEngine
from isa.config import Config
from isa.instructions import Instruction, Opcode
from isa.presets import PRESETS
from tests.golden.test_tensor import place
from tests.hw.engine_bench import EngineBench

SMALL = {
    "tiny": PRESETS["tiny"],
    "4x4, slice 4": Config(lanes=4, spm_bytes=8192, spm_banks=4, psum_depth=16, ppu_lanes=4,
                           weight_words=1, bus_bytes=8, vector_lanes=4),
    "8x8": Config(lanes=8, spm_bytes=16384, spm_banks=8, psum_depth=16, ppu_lanes=2,
                  weight_words=2, bus_bytes=8, vector_lanes=4),
    "16x16": Config(lanes=16, spm_bytes=32768, spm_banks=8, psum_depth=32, ppu_lanes=8,
                    weight_words=2, vector_lanes=4),
    "4 x 4x4": Config(lanes=4, tiles=4, spm_bytes=8192, spm_banks=8, psum_depth=8, ppu_lanes=1,
                      weight_words=1, bus_bytes=8, vector_lanes=4),
    "4 x 8x8": Config(lanes=8, tiles=4, spm_bytes=32768, spm_banks=16, psum_depth=32, ppu_lanes=8,
                      weight_words=2, bus_bytes=8, vector_lanes=4),
}


def bench(config: Config) -> EngineBench:
    return EngineBench(config, TensorEngine(config), lambda e: (
        [*e.act, *e.weights, *e.residual], [*e.out]))


def check(config: Config, spm: np.ndarray, instructions: list[Instruction],
          **options: float) -> int:
    want = spm.copy()
    golden = Tensor(config)
    for index, i in enumerate(instructions):
        golden.execute(i, index, want)
    got, cycles, fault = bench(config).run(spm, instructions, "tensor", **options)
    assert fault is None
    different = np.argwhere((got != want).any(axis=1)).ravel()
    assert not different.size, f"words {different[:8]}: {got[different[0]]} {want[different[0]]}"
    return cycles


@pytest.mark.parametrize("rivalry", [0.0, 0.6])
@pytest.mark.parametrize("name,m_split", [
    *((n, 0) for n in SMALL), ("4 x 4x4", 1), ("4 x 4x4", 2), ("4 x 8x8", 1), ("4 x 8x8", 2)])
def test_convolution(name: str, m_split: int, rivalry: float) -> None:
    config = SMALL[name]
    spm, fields, _ = place(config, m_split)
    check(config, spm, [Instruction(Opcode.TENSOR, fields)], rivalry=rivalry)
