# SPDX-License-Identifier: Apache-2.0
"""The words that instructions touch, of random ones, against what the golden model does: it writes
these words and no others, and what lies in words that are not read makes no difference."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from gangs.touched import touched
from golden.machine import Machine
from golden.signature import watched
from isa.config import Config
from isa.instructions import Instruction, Opcode
from isa.presets import PRESETS
from tests.compiler import test_hazards as slow
from tests.e2e.programs import contents, tensor, vector, window

MACHINES = [replace(PRESETS[name], exchange=True) for name in ("tiny", "tiny_fp", "core1024_fp")]
MAKERS: list[Callable[[np.random.Generator, Config], list[Instruction]]] = [
    tensor, lambda rng, config: [window(rng, config)], lambda rng, config: [vector(rng, config)]]


def written(config: Config, code: list[Instruction], spm: np.ndarray) -> dict[int, bytes]:
    """The words that the golden model writes, and what it writes there."""
    machine, found = Machine(config), set[int]()
    machine.spm = watched(spm.copy(), lambda at, data: found.update(at.ravel().tolist()))
    for index, i in enumerate(code):
        machine.execute(i, index, {})
    return {at: bytes(np.asarray(machine.spm)[at]) for at in found}


@pytest.mark.parametrize("config", MACHINES, ids=lambda c: c.name)
@pytest.mark.parametrize("make", MAKERS, ids=["tensor", "window", "vector"])
@pytest.mark.parametrize("seed", range(12))
def test_what_engines_touch(config: Config, make: Callable, seed: int) -> None:
    rng = np.random.default_rng(seed)
    code = make(rng, config)
    spm = contents(rng, config, code)
    all_touched = [touched(i, config) for i in code]
    want = written(config, code, spm)
    assert np.unique(np.concatenate([t.writes for t in all_touched])).tolist() == sorted(want)
    read = np.zeros(config.spm_words, bool)
    for t in all_touched:
        read[t.reads], read[t.weights] = True, True
    other = spm.copy()
    other[~read] = rng.integers(0, 256, other[~read].shape, np.uint8)
    assert written(config, code, other) == want


@pytest.mark.parametrize("config", MACHINES[:2], ids=lambda c: c.name)
@pytest.mark.parametrize("make", MAKERS, ids=["tensor", "window", "vector"])
@pytest.mark.parametrize("seed", range(12, 18))
def test_nothing_more_is_read(config: Config, make: Callable, seed: int) -> None:
    """Word by word, as the test of the compiler's waits goes through them."""
    for i in make(np.random.default_rng(seed), config):
        found = touched(i, config)
        if i.opcode is Opcode.VECTOR:
            reads, weights, writes = slow.vector(i)[0], set(), slow.vector(i)[1]
        else:
            program = type("Of", (), {"config": config})
            walk = slow.tensor if i.opcode is Opcode.TENSOR else slow.window
            reads, weights, writes = walk(i, program)  # type: ignore[arg-type]
        if i.fields.get("w_type"):  # which that test takes for weights of two bytes
            weights = {(-1, at) for at in found.weights.tolist()}
        for got, want in ((found.reads, reads), (found.weights, weights), (found.writes, writes)):
            assert got.tolist() == sorted(at for _, at in want)


@pytest.mark.parametrize("opcode", [Opcode.LOAD, Opcode.STORE, Opcode.XFER])
@pytest.mark.parametrize("seed", range(5))
def test_what_copies_touch(opcode: Opcode, seed: int) -> None:
    rng = np.random.default_rng(seed)
    config = MACHINES[0]
    size, far = config.word_bytes, "peer" if opcode is Opcode.XFER else "dram"
    counts = dict(zip(("n0", "n1", "n2", "n3"), rng.integers(1, 5, 4).tolist()))
    there, here = rng.integers(-9, 10, 3).tolist(), rng.integers(-9, 10, 3).tolist()
    unit = 1 if opcode is Opcode.XFER else size
    i = Instruction(opcode, {**counts, "spm": 200, far: 300 * unit,
                             **{f"spm_stride{k + 1}": step for k, step in enumerate(here)},
                             **{f"{far}_stride{k + 1}": step * unit
                                for k, step in enumerate(there)}})

    def words(base: int, steps: list[int]) -> list[int]:
        return sorted({base + k0 + k1 * steps[0] + k2 * steps[1] + k3 * steps[2]
                       for k0 in range(counts["n0"]) for k1 in range(counts["n1"])
                       for k2 in range(counts["n2"]) for k3 in range(counts["n3"])})
    found = touched(i, config)
    own = found.writes if opcode is Opcode.LOAD else found.reads
    assert own.tolist() == words(200, here)
    assert (found.sends if opcode is Opcode.XFER else found.dram).tolist() == words(300, there)


def test_signals_touch_nothing() -> None:
    for opcode in (Opcode.SIGNAL, Opcode.AWAIT):
        found = touched(Instruction(opcode), MACHINES[0])
        assert not any(len(v) for v in vars(found).values())
