# SPDX-License-Identifier: Apache-2.0
"""A decoder whose cache stays on the machine: the RTL's bits are the golden model's, prompt and
token by token, whatever the memory does."""

import numpy as np
import pytest

from compiler.compile import compile_decoder
from isa.presets import PRESETS
from makalu.see.bisect import Comparison
from runtime.generator import Generator
from runtime.golden_device import GoldenDevice
from sim.device import RtlDevice
from sim.harness import DramModel
from tests.compiler.decoder import decoder, reference, sqnr

CONFIG = PRESETS["tiny_fp"]
IDS = [int(v) for v in np.random.default_rng(5).integers(0, 24, 16)]
PROMPT = 6


@pytest.mark.parametrize("dram,precision,least", [
    (DramModel(), "fp16", 50), (DramModel(stall=0.4), "fp16", 50),
    (DramModel(stall=0.4), "w8", 25)], ids=["steady", "stalling", "w8"])
def test_rtl_equals_golden(dram: DramModel, precision: str, least: int) -> None:
    model = decoder(heads=2, width=8, layers=2)
    program = compile_decoder(model, CONFIG, context=(8, 16), prefill=4, allow_host=("all",),
                              precision=precision)
    machines = [Generator(program, device)
                for device in (GoldenDevice(CONFIG), RtlDevice(CONFIG, dram=dram))]
    for _ in range(2):      # again after a reset, when the memory is not what it was
        for g in machines:
            g.reset()
        golden, rtl = (g.prefill(IDS[:PROMPT]) for g in machines)
        assert np.array_equal(golden, rtl)
        got = [golden]
        for token in IDS[PROMPT:]:
            golden, rtl = (g.decode(token) for g in machines)
            assert np.array_equal(golden, rtl)
            got.append(golden)
        assert sqnr(np.array(got), reference(model, IDS)[PROMPT - 1:]) > least
    machines[1].device.close()


def test_instruction_by_instruction() -> None:
    program = compile_decoder(decoder(), CONFIG, context=8, prefill=4, allow_host=("all",))
    with Comparison(CONFIG) as device:
        g = Generator(program, device)
        for ids in (IDS[:3], IDS[3:4], IDS[4:6]):
            g.prefill(ids)
            assert device.difference is None, device.difference
