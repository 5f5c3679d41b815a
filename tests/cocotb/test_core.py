# SPDX-License-Identifier: Apache-2.0
"""Builds the preset ``tiny``, compiles the digits for it, and runs bench_core.py in Verilator."""

import dataclasses
import json

import numpy as np

from examples.digits import INPUT, INT8, held_out
from hw.top import TOP
from isa.layout import pack
from isa.presets import PRESETS
from isa.program import Program
import makalu
from runtime.session import HostGraph
from sim.build import rtl
from sim.cocotb_runner import get_runner

CONFIG = PRESETS["tiny"]


def region(p: Program, image: np.ndarray) -> np.ndarray:
    """Region INPUT for a picture, whose quantization the host does."""
    (buffer,) = p.inputs
    made = HostGraph(p.host_pre)({INPUT: image})[buffer.name]
    return pack(buffer, np.ascontiguousarray(made), CONFIG.word_bytes)


def test_core(tmp_path):
    p = makalu.compile(INT8, CONFIG, host=("QuantizeLinear", "DequantizeLinear"))
    p.save(tmp_path / "network.mkl")
    np.save(tmp_path / "inputs.npy", region(p, held_out()[0][:1]))
    source = tmp_path / "makalu.v"
    source.write_text(rtl(CONFIG))
    runner = get_runner()
    runner.build(sources=[source], hdl_toplevel=TOP, build_dir=tmp_path)
    runner.test(test_module="tests.cocotb.bench_core", hdl_toplevel=TOP,
                extra_env={"BENCH_CONFIG": json.dumps(dataclasses.asdict(CONFIG)),
                           "BENCH_FOLDER": str(tmp_path)})
