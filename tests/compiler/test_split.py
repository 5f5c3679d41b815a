# SPDX-License-Identifier: Apache-2.0
"""A network over several cores: the bits of one core on any number of them, however they share it
and whichever goes on first; no race, no deadlock and no signal too many, as :mod:`gangs` finds."""

import itertools
import random
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import pytest

from compiler import attempts as attempts_module
from compiler import backend as backend_module
from compiler import compile_model
from compiler.attempts import Attempts
from compiler.emit.rows import SQUARES_ANCHOR
from compiler.emit.schedule import Schedule
from compiler.emit.sharing import Grid
from compiler.ir.errors import CompileError
from compiler.split.spread import Common
from compiler.split.ways import Ways
from gangs.check import Finding, check
from isa.config import Config
from isa.instructions import GANG_QUEUES, Opcode, Region, VectorOp
from isa.layout import pack
from isa.presets import PRESETS
from isa.program import Program
from runtime.golden_device import GoldenDevice
from tests.compiler.test_floats import residual, separable
from tests.compiler.test_hazards import network
from tests.compiler.test_tokens import layer

WAYS = {"rows": 0, "channels": 10**9, "mixed": 100, "both": 100, "planned": 100, "blocks": 0}
"""Pixels of the largest map that is shared by channels; ``both``: those that can be are shared by
rows and by channels; ``planned``: as the dynamic program has it; ``blocks``: by rows, and each core
makes its own channel block by channel block."""

COMPUTES = (Opcode.TENSOR, Opcode.WINDOW, Opcode.VECTOR)


def integers() -> onnx.ModelProto:
    net = network()
    return net.model(net.result)


NETWORKS: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "integers": (integers, "int8"),
    "residual": (lambda: residual("fp16", 2).model(), "fp16"),
    "separable": (lambda: separable("fp16", 1).model(), "fp16"),
    "heads": (lambda: layer(32, 4, 32)[0], "fp16"),
}


def machine(name: str, precision: str) -> Config:
    return PRESETS[name if precision == "int8" else f"{name}_fp"]


def region(program: Program) -> np.ndarray:
    """Region INPUT with random values."""
    memory = np.zeros(program.region_sizes[Region.INPUT], np.uint8)
    rng = np.random.default_rng(5)
    for b in program.inputs:
        values = (rng.standard_normal(b.shape).astype(np.float32) if "float" in b.dtype
                  else rng.integers(-128, 128, b.shape).astype(b.dtype))
        memory[b.offset:b.offset + b.size] = pack(b, values, program.config.lanes)
    return memory


def stored(program: Program, seed: int | None = None) -> bytes:
    """What the golden model leaves in region OUTPUT, of the program's file."""
    with GoldenDevice(program.config, seed=seed) as device:
        device.load(Program.from_bytes(program.to_bytes()))
        return device.execute(region(program)).outputs.tobytes()


def findings(program: Program) -> list[Finding]:
    return check([program.instructions(rank) for rank in range(program.ranks)], program.config,
                 program.region_sizes)


def shared(monkeypatch: pytest.MonkeyPatch, way: str, slabs: bool) -> None:
    """Have programs shared in one of :data:`WAYS`."""
    emitted = Attempts._emitted
    monkeypatch.setattr(attempts_module, "SHARED_MAPS", (WAYS[way],))
    monkeypatch.setattr(Attempts, "_emitted", lambda self, **choice: emitted(
        self, **{**choice, "slabs": slabs, "planned": way in ("both", "planned"),
                 "channels": 10**9 * (way == "blocks")}))
    if way == "both":
        monkeypatch.setattr(Ways, "best", lambda self: {
            op.y: Grid(2, self.s.ranks // 2) for op in self.s.graph.ops})
    for changes in ("_changes", "_once_more"):
        monkeypatch.setattr(Attempts, changes, lambda self, first: [])


QUICK = [("tiny", 2, "mixed"), ("tiny", 4, "mixed"), ("core1024", 2, "rows"),
         ("core1024", 4, "channels"), ("tiny", 4, "both"), ("core256", 4, "planned"),
         ("tiny", 2, "blocks")]
LONG = [*(("tiny", 3, way) for way in WAYS if way != "both"), ("tiny", 4, "rows"),
        ("tiny", 4, "channels"), ("core256", 4, "blocks"), ("tiny", 8, "mixed"),
        ("tiny", 16, "mixed"), ("core1024", 16, "mixed"), ("core256", 8, "both"),
        ("core1024", 16, "both")]
HEADS = [("tiny", 4, "both"), ("core256", 4, "planned")]
"""Of those with heads, which take longest, the quick ones."""


@pytest.mark.parametrize("name,of,cores,way", [
    pytest.param(name, *case, marks=[] if case in (HEADS if name == "heads" else QUICK)
                 else pytest.mark.long) for name in NETWORKS for case in QUICK + LONG])
@pytest.mark.parametrize("slabs", [False, True])
def test_bits(monkeypatch: pytest.MonkeyPatch, of: str, name: str, cores: int, way: str,
              slabs: bool) -> None:
    make, precision = NETWORKS[name]
    config = machine(of, precision)
    want = stored(compile_model(make(), config, precision=precision))
    shared(monkeypatch, way, slabs)
    program = compile_model(make(), config, precision=precision, cores=cores)
    assert program.ranks == cores and program.config == replace(
        config, name=f"{config.name} with exchange", exchange=True)
    assert findings(program) == []
    orders = 20 if (of, cores) == ("tiny", 4) and name != "heads" else 2
    for seed in (None, *range(orders)):
        assert stored(program, seed) == want, seed
    busy = [any(i.opcode in COMPUTES for i in program.instructions(rank))
            for rank in range(cores)]
    assert sum(busy) >= min(cores, 4)


def test_a_reduction_begins_with_half_of_its_operand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a pointwise convolution behind a depthwise one, on each core."""
    make, precision = NETWORKS["separable"]
    shared(monkeypatch, "blocks", slabs=False)
    program = compile_model(make(), machine("core256", precision), precision=precision, cores=2)
    for rank in range(2):
        held = [(i.ncb, then.ncb, then.acc) for i, then in itertools.pairwise(
            i for i in program.instructions(rank) if i.opcode is Opcode.TENSOR) if i.hold]
        assert held and all(acc and abs(first - second) <= 1 for first, second, acc in held)


def test_sums_of_squares_read_two_banks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two channel blocks at a time, of words that a box of pixels has of its own."""
    make, precision = NETWORKS["heads"]
    config = machine("core256", precision)
    shared(monkeypatch, "planned", slabs=True)
    program = compile_model(make(), config, precision=precision, cores=4)
    for rank in range(4):
        sums = [i for i in program.instructions(rank) if i.opcode is Opcode.VECTOR
                and i.vop == VectorOp.SUM and i.anchor == SQUARES_ANCHOR]
        assert sums and all(i.nr > 1 and i.a_r % config.spm_banks for i in sums)


def test_the_first_half_of_an_output_goes_early() -> None:
    """Its STORE waits for fewer VECTORs than that of the second half, which is of other blocks."""
    make, precision = NETWORKS["heads"]
    program = compile_model(make(), machine("core1024", precision), precision=precision, cores=4)
    vector = 1 << GANG_QUEUES.index("vector")
    for rank in range(4):
        first, second = (i for i in program.instructions(rank)
                         if i.opcode is Opcode.STORE and i.region == Region.OUTPUT)
        assert first.wait_mask & second.wait_mask & vector
        assert first.wait_vector < second.wait_vector and first.dram < second.dram


def dealt(model: onnx.ModelProto, config: Config, precision: str, cores: int, seed: int,
          monkeypatch: pytest.MonkeyPatch) -> Program:
    """A program each of whose instructions any core may have."""
    class Dealt(Attempts):
        def _emitted(self, **choice) -> Schedule:
            schedule = super()._emitted(**{**choice, "slabs": False})   # no rank has all of a slab
            rng, chain = random.Random(seed), 0
            for step in schedule.steps:
                if step.opcode in COMPUTES:
                    step.rank = rng.randrange(self.ranks)
                if step.opcode is Opcode.TENSOR:    # the sums of a reduction are a core's
                    step.rank = chain = chain if step.fields["acc"] else step.rank
            return schedule

        def _changes(self, first) -> list:
            return [{"common": Common.EITHER}, {"common": Common.EACH}]

        def _once_more(self, first) -> list:
            return []
    monkeypatch.setattr(backend_module, "Attempts", Dealt)
    return compile_model(model, config, precision=precision, cores=cores)


@pytest.mark.parametrize("cores,seed", [
    (2, 0), pytest.param(3, 1, marks=pytest.mark.long), pytest.param(9, 2, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("of", ["tiny", "core256"])
def test_any_core_may_have_any_instruction(monkeypatch: pytest.MonkeyPatch, of: str, name: str,
                                           cores: int, seed: int) -> None:
    make, precision = NETWORKS[name]
    config = machine(of, precision)
    want = stored(compile_model(make(), config, precision=precision))
    program = dealt(make(), config, precision, cores, seed, monkeypatch)
    assert findings(program) == []
    for order in (None, *range(4)):
        assert stored(program, order) == want, order


def test_the_same_bytes_always() -> None:
    programs = [compile_model(integers(), PRESETS["core256"], cores=3).to_bytes() for _ in range(2)]
    assert programs[0] == programs[1]


def test_one_core_is_no_gang() -> None:
    alone, one = (compile_model(integers(), PRESETS["tiny"], **options).to_bytes()
                  for options in ({}, {"cores": 1}))
    assert alone == one


@pytest.mark.parametrize("cores", [0, -1, 17])
def test_numbers_of_cores(cores: int) -> None:
    with pytest.raises(CompileError, match="a network runs on 1 to 16 together"):
        compile_model(integers(), PRESETS["tiny"], cores=cores)


def test_cores_are_faster() -> None:
    """By the model of time, with the memory's share of each, a network that computes much."""
    cycles = [sum(compile_model(integers(), PRESETS["tiny"], cores=n).predicted_cycles)
              for n in (1, 2, 4)]
    assert cycles[0] / cycles[1] > 1.6 and cycles[0] / cycles[2] > 2.4


@pytest.mark.parametrize("price,searches,unit", [(0, 1, "cycles"),
                                                 (1, 2, "cycles and priced bytes")])
def test_the_search_says_how_far_it_is(price: float, searches: int, unit: str) -> None:
    """Each attempt, to the last one, and what the best has come to."""
    said: list[str] = []
    program = compile_model(integers(), PRESETS["tiny"], cores=2, dram_price=price,
                            say=said.append)
    seen = [re.fullmatch(r"search (\d) of (\d), attempt (\d+) of (\d+)"
                         rf"(?:, the best takes ([\d,]+) {unit})?", text) for text in said]
    found = [tuple(int((number or "0").replace(",", "")) for number in match.groups())
             for match in seen if match]
    assert len(found) == len(said) and {of for _, of, *_ in found} == {searches}
    search, _, attempt, attempts, best = found[-1]
    assert (search, attempt) == (searches, attempts)
    if not price:
        assert sum(program.predicted_cycles) <= best


def test_choices_of_a_large_program_are_gone_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the best of them is the best of more."""
    said: list[str] = []
    cycles = []
    for many in (attempts_module.MANY, 0):
        monkeypatch.setattr(attempts_module, "MANY", many)
        program = compile_model(integers(), PRESETS["tiny"], cores=2, say=said.append)
        cycles.append(sum(program.predicted_cycles))
    first, second = (said[:said.index(said[0], 1)], said[said.index(said[0], 1):])
    assert second == first[:len(second)] and len(second) < len(first)
    assert cycles[0] <= cycles[1]
