# SPDX-License-Identifier: Apache-2.0
"""FP16 and BF16 networks on the simulated hardware: the bits that they have to give, whatever the
memory does."""

import numpy as np
import pytest

from compiler import compile_model
from isa.presets import PRESETS
from isa.registers import EXCEPTIONS
from runtime.session import Session
from sim.device import RtlDevice
from sim.harness import DramModel
from tests.compiler.test_floats import TYPES, residual, separable


@pytest.mark.parametrize("precision", TYPES)
@pytest.mark.parametrize("make", [residual, separable])
def test_network(make, precision: str) -> None:
    config = PRESETS["tiny_fp"]
    n = make(precision, 1)
    program = compile_model(n.model(), config, precision=precision)
    for dram in (DramModel(), DramModel(stall=0.3, seed=3)):
        session = Session(program, RtlDevice(config, dram=dram))
        out, = session.run(n.data).values()
        np.testing.assert_array_equal(out, n.value)
        assert not any(session.counters[0][name] for name in EXCEPTIONS)
