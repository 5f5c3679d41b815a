# SPDX-License-Identifier: Apache-2.0
"""Blocks of transformers on the simulated hardware, with stalls and without: the golden model's
bits."""

import numpy as np
import pytest

from compiler import compile_model
from isa.presets import PRESETS
from runtime.golden_device import GoldenDevice
from runtime.session import Session
from sim.device import RtlDevice
from sim.harness import DramModel
from tests.compiler.blocks import Block


@pytest.mark.parametrize("precision", ["fp16", "int8"])
@pytest.mark.parametrize("block", [
    Block(batch=2, tokens=9, mask="padding", merged=True),
    Block(tokens=8, groups=1, mask="causal", rotates=True, norm="RMSNormalization",
          function="SwiGLU"),
    Block(tokens=7, heads=3, groups=3, size=6, function="Relu")],
    ids=["images", "rotated", "no whole words"])
def test_a_block(block: Block, precision: str) -> None:
    x = block.inputs()
    program = compile_model(block.model(), PRESETS["tiny_fp"], precision=precision,
                            calibration=[x] if precision == "int8" else None)
    want, = Session(program, GoldenDevice(program.config)).run(x).values()
    assert len(np.unique(want)) > 60
    for dram in (DramModel(), DramModel(stall=0.3, seed=5)):
        got, = Session(program, RtlDevice(program.config, dram=dram)).run(x).values()
        np.testing.assert_array_equal(got, want)
