# SPDX-License-Identifier: Apache-2.0
"""Random networks, compiled, on the simulated RTL with a memory that stalls at random: the outputs
are those of the golden model, bit for bit, and of the ONNX reference implementation."""

import functools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from compiler import compile_model
from isa.presets import PRESETS
from runtime.golden_device import GoldenDevice
from runtime.session import Session
from sim.device import RtlDevice
from sim.harness import DramModel
from tests.compiler.test_random_networks import grown

STEPS = ("conv", "conv", "conv", "add", "residual", "pool", "concat", "turn")


@functools.cache
def rtl(machine: str) -> RtlDevice:
    return RtlDevice(PRESETS[machine], dram=DramModel(stall=0.15, read_latency=25, seed=7))


@pytest.mark.parametrize("machine", ["tiny", "core256"])
def test_random_network(machine: str) -> None:

    @settings(max_examples=12, deadline=None, derandomize=True, database=None,
              suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 10**6).filter(lambda n: n % 3), st.lists(st.sampled_from(STEPS),
                                                                    min_size=3, max_size=8))
    def run(seed: int, steps: list[str]) -> None:
        network = grown(seed, steps)
        if network is None:
            return
        model, outs, x = network
        program = compile_model(model, PRESETS[machine])
        got = Session(program, rtl(machine)).run({"x": x})
        golden = Session(program, GoldenDevice(program.config)).run({"x": x})
        witness = ReferenceEvaluator(model).run(None, {"x": x})
        for name, want in zip(outs, witness, strict=True):
            assert np.array_equal(got[name], golden[name]), name
            assert np.array_equal(golden[name], want), name
        ran.append(len(program.image))

    ran: list[int] = []
    run()
    rtl(machine).close()
    assert len(ran) >= 6
