# SPDX-License-Identifier: Apache-2.0
"""The window engine against the golden model: the whole scratchpad afterwards, bit for bit."""

import numpy as np
import pytest

from golden import window
from hw.window import WindowEngine
from isa.config import Config
from isa.instructions import Instruction
from tests.e2e.programs import contents, window as random_window
from tests.hw.engine_bench import EngineBench

SMALL = dict(lanes=4, spm_bytes=8192, spm_banks=4, ppu_lanes=1, weight_words=1, vector_lanes=1)
MACHINES = {
    "4 lanes, 1 tap": Config(**SMALL, window_taps=1, window_lanes=1),
    "4 lanes, 3 taps": Config(**SMALL, window_taps=3, window_lanes=2),
    "8 lanes, 2 taps": Config(**{**SMALL, "lanes": 8, "spm_bytes": 16384}, window_taps=2,
                              window_lanes=8),
    "16 lanes, 3 taps": Config(lanes=16, spm_bytes=32768, spm_banks=8, weight_words=2,
                               window_taps=3, window_lanes=8),
    "4 groups, 4 taps": Config(**{**SMALL, "spm_banks": 8, "spm_bytes": 16384}, tiles=4,
                               window_taps=4, window_lanes=2),
    "4 groups, 3 taps": Config(**{**SMALL, "lanes": 8, "spm_banks": 16, "spm_bytes": 32768},
                               tiles=4, window_taps=3, window_lanes=4),
}


def bench(config: Config) -> EngineBench:
    return EngineBench(config, WindowEngine(config),
                       lambda e: ([*e.act, e.weights], [*e.out]))


def check(config: Config, spm: np.ndarray, instructions: list[Instruction],
          **options: float) -> int:
    want = spm.copy()
    for index, i in enumerate(instructions):
        window.execute(i, index, want, config)
    got, cycles, fault = bench(config).run(spm, instructions, "window", **options)
    assert fault is None
    different = np.argwhere((got != want).any(axis=1)).ravel()
    assert not different.size, f"words {different[:8]}: {got[different[0]]} {want[different[0]]}"
    return cycles


@pytest.mark.parametrize("rivalry", [0.0, 0.5])
@pytest.mark.parametrize("name", MACHINES)
def test_random_instructions(name: str, rivalry: float) -> None:
    config = MACHINES[name]
    rng = np.random.default_rng([3, config.lanes, config.tiles])
    program = [random_window(rng, config) for _ in range(6)]
    check(config, contents(rng, config, program), program, rivalry=rivalry)
