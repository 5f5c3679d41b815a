# SPDX-License-Identifier: Apache-2.0
"""The number of cores that serves an aim best, against the predictions that it is chosen by."""

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from compiler.ir.errors import CompileError
from compiler.machine.shared import GANG_START, gang, gang_cycles, together
from examples.digits import FOLDER, INT8
from isa.program import Program
from makalu import api
from makalu.cli.main import cli
from makalu.cores import Aim, choose
from makalu.plan import bandwidth, groups, in_groups, streams_of

DIGITS = str(FOLDER / "digits_int8.onnx")


@pytest.fixture(scope="module")
def programs() -> list[Program]:
    """For 1 to 4 cores."""
    return list(api.compile_each(INT8, "core256", range(1, 5), host=("all",)))


def predicted(programs: list[Program]) -> list[int]:
    return [sum(p.predicted_cycles) for p in programs]


def test_a_program_of_several_is_that_of_its_number_alone(programs: list[Program]) -> None:
    assert [p.ranks for p in programs] == [1, 2, 3, 4]
    for cores in (1, 3):
        alone = api.compile(INT8, "core256", host=("all",), cores=cores)
        assert alone.to_bytes() == programs[cores - 1].to_bytes()


def test_latency(programs: list[Program]) -> None:
    """Whichever place the quickest has, it is taken."""
    cycles = predicted(programs)
    for count in range(1, 5):
        chosen = choose(programs[:count], Aim())
        assert [t.cycles for t in chosen.tried] == cycles[:count]
        assert chosen.best.cores == 1 + cycles.index(min(cycles[:count]))
    assert choose(reversed(programs), Aim()).best.cycles == min(cycles)


def test_of_equals_the_fewest_cores(programs: list[Program]) -> None:
    chosen = choose([programs[1], programs[1]], Aim())
    assert chosen.best is chosen.tried[0]


def test_fewest(programs: list[Program]) -> None:
    """Nothing is compiled behind the first that is quick enough."""
    one, two = predicted(programs)[:2]
    assert two < one
    given: Iterator[Program] = iter(programs)
    assert choose(given, Aim("fewest", bound=two)).best.cores == 2
    assert [p.ranks for p in given] == [3, 4]
    assert choose(programs, Aim("fewest", bound=one)).best.cores == 1
    assert choose([*programs, programs[1]], Aim("fewest", bound=one - 1)).best.cores == 2


def test_throughput(programs: list[Program]) -> None:
    """Of four cores: one program on each of them, two groups of two, or one group; groups read
    together."""
    chosen = choose(programs, Aim("throughput"))
    width = bandwidth(programs[0].config, 4)
    one, two, three, four = chosen.tried
    assert [t.groups for t in chosen.tried] == [4, 2, 1, 1]
    apart = [k * GANG_START for k in range(4)]
    assert one.cycles == pytest.approx(max(map(sum, zip(apart, together(
        [programs[0]] * 4, width, apart, gang=True)))), rel=0.02)   # but for the hub's latency
    assert two.cycles == gang_cycles(gang(
        streams_of(programs[1]), programs[1].config, width, teams=2))
    assert four.cycles == sum(programs[3].predicted_cycles)
    assert chosen.best.rate == max(t.rate for t in chosen.tried) == chosen.best.groups * 1e6 / (
        chosen.best.cycles)
    quickest = min(chosen.tried, key=lambda t: t.cycles)
    assert quickest is not chosen.best  # copies infer the most, and are slow each
    bounded = choose(programs, Aim("throughput", bound=quickest.cycles))
    assert bounded.best.cores == quickest.cores


def test_groups_read_together(programs: list[Program]) -> None:
    """Eight of two cores in front of a memory for one, nearly as quick as a single group."""
    two, width = programs[1], programs[1].config.bus_bytes
    assert groups(two, 64) == 32 and groups(two, 5) == 2 and groups(programs[0], 64) == 64
    alone = in_groups(two, 2, width)
    assert alone < in_groups(two, 16, width) - 14 * GANG_START < 1.3 * alone
    assert in_groups(two, 16, width, meet=False) > 2 * alone


@pytest.mark.parametrize("aim,says", [
    (Aim(bound=100), r"bound of 100 cycles: the best is [\d,]+, predicted, on \d of up to"),
    (Aim("fewest", bound=100), "of up to 4 cores; allow as many cycles, more cores with"),
    (Aim("throughput", bound=100), "of up to 4 cores")])
def test_a_bound_that_none_keeps(programs: list[Program], aim: Aim, says: str) -> None:
    with pytest.raises(CompileError, match=says):
        choose(programs, aim)


@pytest.mark.parametrize("given,says", [
    ({"objective": "speed"}, "objective 'speed': there is none of that name; use one of latency,"),
    ({"objective": "fewest"}, "add --latency-bound CYCLES"), ({"most": 0}, "0 cores at most")])
def test_aims_that_are_none(given: dict, says: str) -> None:
    with pytest.raises(CompileError, match=says):
        Aim(**given)


def test_the_command(tmp_path, programs: list[Program]) -> None:
    made = tmp_path / "net.mkl"
    command = ["compile", DIGITS, "--host", "all", "-o", str(made), "--cores", "auto"]
    run = CliRunner().invoke(cli, [*command, "--max-cores", "2"])
    assert run.exit_code == 0, run.output
    assert "2 cores: the fewest cycles for an input" in run.stdout
    one, two = predicted(programs)[:2]
    assert f"{two:,}" in run.stdout and f"{one / two:.2f}  taken" in run.stdout
    assert [line.split(":")[0] for line in run.stderr.splitlines()] == ["1 core", "2 cores"]
    assert Program.load(made).ranks == 2
    run = CliRunner().invoke(cli, [*command, "--max-cores", "3", "--objective", "throughput",
                                   "--json"])
    found = json.loads(run.stdout)
    assert (found["cores"], found["objective"], found["max_cores"]) == (1, "throughput", 3)
    assert [(t["cores"], t["groups"]) for t in found["tried"]] == [(1, 3), (2, 1), (3, 1)]
    assert Program.load(made).ranks == 1
