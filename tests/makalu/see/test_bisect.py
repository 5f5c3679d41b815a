# SPDX-License-Identifier: Apache-2.0
"""Faults in the hardware's memory, and the instruction that has to be the first to show them."""

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest

from examples.digits import INT8
from isa.instructions import Instruction, Opcode, Region
from makalu import api
from makalu.measure.samples import random_inputs
from makalu.see.bisect import Comparison, FaultError, Flip, bisect
from runtime.session import Session


@pytest.fixture(scope="module")
def program():
    return api.compile(INT8, "tiny", host=("all",))


def reads(i: Instruction, region: Region, offset: int, word: int) -> bool:
    """Whether a LOAD reads a byte, run by run."""
    if i.opcode is not Opcode.LOAD or i.region != region:
        return False
    runs = itertools.product(range(i.n1), range(i.n2), range(i.n3))
    starts = (i.dram + a * i.dram_stride1 + b * i.dram_stride2 + c * i.dram_stride3
              for a, b, c in runs)
    return any(start <= offset < start + i.n0 * word for start in starts)


def test_no_difference(program):
    assert bisect(program) is None


@pytest.mark.parametrize("region", [Region.PROGRAM, Region.INPUT])
def test_a_wrong_byte_in_memory(program, region):
    """Only LOADs read memory, so the first to show it is the first LOAD that reads the byte."""
    instructions = program.instructions()
    rng = np.random.default_rng(region)
    code = sum(map(len, program.codes()))
    size = program.region_sizes[region]
    found = set()
    for _ in range(3):
        low = code if region is Region.PROGRAM else 0
        offset = int(rng.integers(low, size))
        difference = bisect(program, (Flip(region, offset, int(rng.integers(8))),))
        want = next((k for k, i in enumerate(instructions)
                     if reads(i, region, offset, program.config.word_bytes)), None)
        if want is None:
            assert difference is None
            continue
        assert difference is not None and difference.index == want and difference.complete
        assert difference.text == str(instructions[want])
        assert difference.node == program.node_name(want)
        found.add(want)
    assert found


def test_a_wrong_weight_reaches_the_layers_behind(program):
    """Unless the byte is padding, the convolution that it is for differs, and those behind it."""
    k, load = next((k, i) for k, i in enumerate(program.instructions())
                   if i.opcode is Opcode.LOAD and i.region == Region.PROGRAM)
    differences = [bisect(program, (Flip(Region.PROGRAM, load.dram + byte, 6),))
                   for byte in range(0, 16, 4)]
    assert all(d is not None and d.index == k for d in differences)
    assert max(d.later for d in differences if d) > 20


def test_too_late_to_matter(program):
    flip = Flip(Region.INPUT, 4, cycle=30_000)
    assert bisect(program, (flip,)) is None
    device = Comparison(program.config, (flip,))
    session = Session(program, device)
    session.run(random_inputs(session.inputs))
    assert device.difference is None and session.counters[0]["CYCLES"] > 30_000


def test_an_instruction_that_stops_the_machine(program):
    difference = bisect(program, (Flip(Region.PROGRAM, sum(map(len, program.codes()[:6])), 7),))
    assert difference is not None and difference.index == 6 and not difference.complete
    assert "illegal opcode" in difference.fault


@pytest.mark.parametrize("text,flip", [
    ("program:0x40", Flip(Region.PROGRAM, 64)), ("input:7.3", Flip(Region.INPUT, 7, 3)),
    ("output:0@99", Flip(Region.OUTPUT, 0, 0, 99)),
    ("Workspace:0X1F.7@5", Flip(Region.WORKSPACE, 31, 7, 5))])
def test_parse(text, flip):
    assert Flip.parse(text) == flip


@pytest.mark.parametrize("text", ["spm:0", "program", "program:-1", "program:1.8", "input:1@x"])
def test_parse_refuses(text):
    with pytest.raises(FaultError, match="write REGION:OFFSET.BIT@CYCLE"):
        Flip.parse(text)


def test_refuses_a_byte_outside(program):
    with pytest.raises(FaultError, match="outside region input, which has"):
        bisect(program, (Flip(Region.INPUT, 1 << 20),))


def test_the_command(program, tmp_path):
    path = tmp_path / "digits.mkl"
    program.save(path)

    def run(*arguments, code):
        done = subprocess.run([sys.executable, "-m", "makalu", "bisect", path, *arguments],
                              text=True, capture_output=True)
        assert done.returncode == code, done.stderr
        return done.stdout

    assert "all 169 instructions of digits_int8 write the same" in run(code=0).replace(
        f"{program.instruction_count:,}", "169")
    late = run("--inject", "input:4@30000", code=0)
    assert "write the same" in late and "the injected fault has no effect" in late
    text = run("--inject", "input:12", code=1)
    assert "instruction 0 (node conv1) is the first that writes something else" in text
    result = json.loads(run("--inject", "input:12", "--json", code=1))
    assert result["difference"]["index"] == 0 and result["difference"]["later"] > 10
