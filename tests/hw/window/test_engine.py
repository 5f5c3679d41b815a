# SPDX-License-Identifier: Apache-2.0
"""The window engine against the golden model: the whole scratchpad afterwards, bit for bit."""

import functools
from dataclasses import replace

import numpy as np
import pytest

from golden import window
from golden.fault import MachineFault
from golden.results import Exceptions
from hw.window.engine import WindowEngine
from isa.config import Config
from isa.instructions import QUEUES, DType, Fault, Instruction, Opcode, WindowOp
from isa.presets import PRESETS
from tests.e2e.programs import contents, window as random_window
from tests.golden.test_window import BAD, MOST, place
from tests.hw.engine.engine_bench import EngineBench

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
FLOATS = ("int8", "fp16", "bf16")
FLOATING = {
    "4 lanes, 1 slot": replace(MACHINES["4 lanes, 1 tap"], dtypes=FLOATS),
    "8 lanes, FP16 alone": replace(MACHINES["8 lanes, 2 taps"], dtypes=FLOATS[:2]),
    "16 lanes, 3 taps": replace(MACHINES["16 lanes, 3 taps"], dtypes=FLOATS),
    "4 groups, 3 taps": replace(MACHINES["4 groups, 3 taps"], dtypes=FLOATS),
}
RIVALRY = (0.0, 0.5) * 3
"""Machines take turns in having a rival for the banks."""


@functools.cache
def bench(config: Config) -> EngineBench:
    return EngineBench(config, "window", WindowEngine(config),
                       lambda e: ([*e.act, e.weights], [*e.out]))


def check(config: Config, spm: np.ndarray, instructions: list[Instruction],
          **options: float) -> int:
    want, kinds = spm.copy(), Exceptions()
    for index, i in enumerate(instructions):
        window.execute(i, index, want, config, kinds)
    machine = bench(config)
    got, cycles, fault = machine.run(spm, instructions, **options)
    assert fault is None
    assert all(machine.kinds[k] == n for k, n in vars(kinds).items()), (machine.kinds, kinds)
    different = np.argwhere((got != want).any(axis=1)).ravel()
    assert not different.size, f"words {different[:8]}: {got[different[0]]} {want[different[0]]}"
    return cycles


@pytest.mark.parametrize("name,rivalry", list(zip(MACHINES, RIVALRY)))
def test_random_instructions(name: str, rivalry: float) -> None:
    config = MACHINES[name]
    rng = np.random.default_rng([3, config.lanes, config.tiles])
    program = [random_window(rng, config) for _ in range(6)]
    check(config, contents(rng, config, program), program, rivalry=rivalry)


@pytest.mark.parametrize("kernel, stride", MOST)
def test_as_many_steps_as_the_weight_stores_hold(kernel: tuple[int, int], stride: int) -> None:
    config = MACHINES["4 lanes, 1 tap"]
    spm, fields, _ = place(config, WindowOp.MAC, 0, kernel, stride)
    check(config, spm, [Instruction(Opcode.WINDOW, fields)])


@pytest.mark.parametrize("name,rivalry", list(zip(FLOATING, RIVALRY)))
def test_random_numbers(name: str, rivalry: float) -> None:
    """Instructions on numbers and on integers between one another."""
    config = FLOATING[name]
    rng = np.random.default_rng([5, config.lanes, config.tiles])
    program: list[Instruction] = []
    dtypes = {DType[d.upper()] for d in config.dtypes}
    while len(program) < 6 or {i.dtype for i in program} != dtypes:
        i = random_window(rng, config)
        if DType(i.dtype).needs in config.dtypes:
            program.append(i)
    check(config, contents(rng, config, program), program, rivalry=rivalry)


@pytest.mark.parametrize("dtypes,dtype", [(FLOATS[:1], DType.FP16), (FLOATS[:2], DType.BF16),
                                          (FLOATS, DType.FP32)])
def test_unknown_type(dtypes: tuple[str, ...], dtype: DType) -> None:
    """What the machine has no lanes for is refused by both."""
    config = replace(MACHINES["4 lanes, 1 tap"], dtypes=dtypes)
    spm, fields, _ = place(PRESETS["tiny"], WindowOp.MAC, 0)
    bad = Instruction(Opcode.WINDOW, {**fields, "dtype": dtype})
    with pytest.raises(MachineFault) as e:
        window.execute(bad, 0, spm.copy(), config)
    _, _, fault = bench(config).run(spm, [bad])
    assert fault == (e.value.code, 0) == (Fault.BAD_FIELD, 0)


@pytest.mark.parametrize("change,code", [c for c in BAD if c[1] is not None])
def test_faults(change: dict[str, int], code: Fault) -> None:
    """Code and position are those of the golden model."""
    config = PRESETS["tiny"]
    spm, fields, _ = place(config, WindowOp.MAC, 0)
    good = Instruction(Opcode.WINDOW, fields)
    bad = Instruction(Opcode.WINDOW, {**fields, **change})
    with pytest.raises(MachineFault) as e:
        window.execute(bad, 1, spm.copy(), config)
    assert e.value.code == code
    _, _, fault = bench(config).run(spm, [good, bad, good])
    assert fault == (code, 1)


def cycles(waits: int | list[dict[str, int]], **fields: int) -> int:
    """Cycles of instructions in a row over an image of 34x34, with outputs apart; their number, or
    what each waits for."""
    config = MACHINES["4 lanes, 3 taps"]
    rng = np.random.default_rng(5)
    base = dict(ns=3, nr=3, stride=1, ng=1, nnb=1, a_x=1, a_y=34, a_r=34, ix_x=1, iy_y=1, iy_r=1,
                iw=34, ih=34, a_signed=1, w_base=1400, w_signed=1, m_last=1, n_last=1, o_x=1,
                lo=-128, hi=127, nx=8, ny=4, o_y=8)
    waits = [{}] * waits if isinstance(waits, int) else waits
    program = [Instruction(Opcode.WINDOW, {**base, "o_base": 1500 + 64 * k, **fields, **wait})
               for k, wait in enumerate(waits)]
    return check(config, contents(rng, config, program), program)


@pytest.mark.parametrize("word,row,fields", [
    (3, 10 * 3, {}),
    (6, 8 * 6 + 3 + 1, {"stride": 2, "iy_y": 2, "a_y": 68}),
    (10, 12 * 10, {"ns": 5, "nr": 5, "ng": 2}),
    (3, 14 * 3, {"ns": 7, "nr": 1, "ng": 3}),
    (7, 8 * 7, {"ns": 1, "nr": 7}),
    (2, 8 * 2, {"ns": 1, "nr": 1})],
    ids=["3x3", "3x3 by 2", "5x5", "1x7", "7x1", "1x1, bound by the results"])
def test_throughput(word: int, row: int, fields: dict[str, int]) -> None:
    """Cycles of an output word and of a row of eight, and none from one instruction to the next."""
    one = cycles(1, **fields)
    assert cycles(1, **fields, nx=16, o_y=16) - one == 4 * 8 * word
    assert cycles(1, **{**fields, "ny": 5}) - one == row
    assert cycles(2, **fields) - one == 4 * row


def test_columns_outside_take_a_cycle() -> None:
    """Two of ten columns are padding; the last two outputs come one behind the other and wait a
    cycle for their results. An image without columns is bound by the results alone."""
    padded = {"ix0": -1, "a_base": 99, "iw": 8}
    assert cycles(1, **padded, ny=5) - cycles(1, **padded) == 8 * 3 + 2 + 1
    nothing = {"iw": 0, "a_base": 5000}
    assert cycles(1, **nothing, ny=5) - cycles(1, **nothing) == 1 + 2 * 8


def test_weights_arrive_meanwhile() -> None:
    """A block of channels more costs its steps, not its weights."""
    blocks = {"w_n": 17, "a_n": 1, "o_n": 32}
    assert cycles(1, **blocks, nnb=4) - cycles(1, **blocks) == 3 * 4 * 10 * 3


def test_latency() -> None:
    """From an instruction to the next that waits for it, whose weights are there already."""
    fields = {"ns": 1, "nr": 1, "nx": 1, "ny": 1, "w_ahead": 1}
    waiting = [{}, {"wait_mask": 1 << QUEUES.index("window"), "wait_window": 1}]
    assert cycles(waiting, **fields) - cycles(waiting[:1], **fields) == 39
