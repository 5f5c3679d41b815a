# SPDX-License-Identifier: Apache-2.0
"""The profile of a network that both cores of the smallest chip run together."""

import json
from collections import Counter

import numpy as np
import pytest
from click.testing import CliRunner

from examples.digits import INT8
from isa.chip import CHIPS
from isa.instructions import GANG_QUEUES, QUEUE_OF, Opcode
from isa.program import ProgramError
from isa.registers import BUCKET_NAMES
from makalu import api
from makalu.cli.main import cli
from makalu.measure.samples import random_inputs
from makalu.see import bisect, chip_run, profile
from makalu.see.perfetto import events
from makalu.see.timeline import draw
from runtime.session import Session
from sim.chip_device import LeasedCores, RtlChip
from tests.e2e.gangs import random_exchange

CHIP = CHIPS["chip2_tiny"]
WITHIN = 8
"""Cycles from what an AWAIT waits for to its end."""


@pytest.fixture(scope="module")
def program():
    return api.compile(INT8, "tiny", host=("all",), cores=2)


@pytest.fixture(scope="module")
def run(program):
    return chip_run.measure(program, CHIP)


@pytest.fixture(scope="module")
def runs(run):
    return run.runs


def test_the_trace_is_the_program(program, runs):
    assert [(run.core, run.rank) for run in runs] == [(0, 0), (1, 1)]
    for run in runs:
        ran = program.instructions(run.rank)[:-1]
        assert run.trace["queue"].tolist() == [GANG_QUEUES.index(QUEUE_OF[i.opcode]) for i in ran]
        counted = Counter(i.opcode for i in ran)
        assert all(counted[op] > 0 for op in (Opcode.XFER, Opcode.SIGNAL, Opcode.AWAIT))
        send = run.trace[run.trace["queue"] == GANG_QUEUES.index("send")]
        assert len(send) == counted[Opcode.XFER] + counted[Opcode.SIGNAL]
        assert (run.trace["start"] > run.trace["dispatch"]).all()
        assert (run.trace["done"] > run.trace["start"]).all()
        assert run.trace["done"].max() < run.counters["CYCLES"]


def test_each_engine_of_each_core_adds_up(runs):
    for run in runs:
        found = profile.engines(run)
        assert list(found) == list(GANG_QUEUES)
        assert all(sum(buckets.values()) == run.counters["CYCLES"] for buckets in found.values())
        assert found["send"]["active"] > 0 and found["await"]["wait_gang"] > 0
        assert sum(buckets["wait_await"] for buckets in found.values()) > 0


def test_random_programs_add_up():
    """In which every instruction waits for those before it, of all queues."""
    chip, rng = chip_run.WatchedChip(CHIP, 2), np.random.default_rng(3)
    device, waited = LeasedCores(chip, 0), Counter()
    device.assign(range(2), 1)
    for _ in range(4):
        program, (given,) = random_exchange(rng, CHIP.core, 2)
        device.load(program)
        device.execute(given)
        for core in range(2):
            run = profile.Run(program, chip.harness.trace(core), chip.counters(core), core, 0, core)
            ran = [GANG_QUEUES.index(QUEUE_OF[i.opcode]) for i in run.instructions[:-1]]
            assert run.trace["queue"].tolist() == ran
            for queue, buckets in profile.engines(run).items():
                assert sum(buckets.values()) == run.counters["CYCLES"], queue
                waited.update({(queue, name): n for name, n in buckets.items()})
    chip.close()
    assert all(waited[queue, name] > 0 for queue in ("tensor", "vector", "store")
               for name in ("wait_send", "wait_await"))
    assert waited["send", "wait_await"] > 0 and waited["send", "wait_gang"] > 0


def test_the_instructions_have_the_cycles_of_the_counters(runs):
    for run in runs:
        for number, queue in enumerate(GANG_QUEUES):
            total = run.trace["cycles"][run.trace["queue"] == number].sum(axis=0)
            assert all(count == run.counters.get(f"{queue}_{name}".upper(), 0)
                       for name, count in zip(BUCKET_NAMES, total.tolist(), strict=True)
                       if name != "idle"), queue


def test_nobody_starts_before_whom_it_waits_for(runs):
    for run in runs:
        done = [run.trace["done"][run.trace["queue"] == k] for k in range(len(GANG_QUEUES))]
        waits = Counter()
        for i, record in zip(run.instructions, run.trace, strict=False):
            for k, queue in enumerate(GANG_QUEUES):
                count = i.fields.get(f"wait_{queue}", 0)
                if i.wait_mask >> k & 1 and count:
                    waits[queue] += 1
                    assert record["start"] > done[k][count - 1]
        assert waits["send"] and waits["await"]


def test_an_await_ends_with_the_signal_that_it_waits_for(runs):
    """On the clock of the chip: what the other core sent with its signals, against when each AWAIT
    is complete."""
    for run, other in (runs, runs[::-1]):
        sent: dict[int, list[tuple[int, int]]] = {}
        for i, record in zip(other.instructions, other.trace, strict=False):
            if i.opcode is Opcode.SIGNAL or i.opcode is Opcode.XFER and i.signal:
                sent.setdefault(i.counter, []).append(
                    (other.begin + int(record["start"]), other.begin + int(record["done"])))
        awaits = 0
        for i, record in zip(run.instructions, run.trace, strict=False):
            if i.opcode is not Opcode.AWAIT:
                continue
            start, done = (run.begin + int(record[name]) for name in ("start", "done"))
            first, last = sent[i.counter][i.threshold - 1]
            assert first < done < max(start, last) + WITHIN
            waited = int(record["cycles"][BUCKET_NAMES.index("wait_gang")])
            assert done - start - WITHIN < waited < max(1, done - start)
            awaits += 1
        assert awaits == sum(i.opcode is Opcode.AWAIT for i in run.instructions) > 5


def test_watching_does_not_change_a_cycle(program, runs):
    with RtlChip(CHIP) as device:
        session = Session(program, device)
        result = device.execute(session.packed(random_inputs(session.inputs, 0)))
    assert result.counters["CYCLES"] == max(run.counters["CYCLES"] for run in runs)
    assert result.counters["INSTRUCTIONS"] == sum(len(run.trace) for run in runs)


def test_layers_are_those_of_each_core(program, run, runs):
    predicted = [program.predicted_cycles, program.streams[0].predicted_cycles]
    for each in runs:
        rows = profile.layers(each)
        assert sum(row["cycles"] for row in rows) == each.trace["done"].max()
        assert sum(row["instructions"] for row in rows) == len(each.trace)
        assert sum(row["predicted_cycles"] for row in rows) == sum(predicted[each.rank][:-1])
    found = profile.summary_of_chip(run)
    assert (found["ranks"], [c["rank"] for c in found["cores"]]) == (2, [0, 1])
    assert found["cycles"] == max(each.begin + each.counters["CYCLES"] for each in runs)


def test_perfetto_has_what_is_sent(program, runs):
    found = json.loads(json.dumps(events(runs)))["traceEvents"]
    for run in runs:
        mine = [e for e in found if e["pid"] == run.core + 1]
        threads = {e["tid"]: e["args"]["name"] for e in mine if e["name"] == "thread_name"}
        assert list(threads.values()) == list(GANG_QUEUES)
        work = [e for e in mine if e["ph"] == "X" and e["cat"] != "wait"]
        assert [e["cat"] for e in work] == [i.opcode.name for i in run.instructions[:-1]]
        assert all(e["args"]["node"] == program.node_name(k, run.rank) for k, e in enumerate(work))
        assert {threads[e["tid"]] for e in work if e["cat"] in ("XFER", "SIGNAL")} == {"send"}
        steps = [(e["ts"] * 1000, e["args"]["value"]) for e in mine
                 if e["name"].startswith("sent to")]
        area = sum(value * (b - a) for (a, value), (b, _) in zip(steps, steps[1:], strict=False))
        words = sum(i.n0 * i.n1 * i.n2 * i.n3 for i in run.instructions if i.opcode is Opcode.XFER)
        assert area == pytest.approx(words * program.config.word_bytes, rel=1e-3)


def test_the_picture(runs, tmp_path):
    draw(runs, tmp_path / "t.svg")
    assert (tmp_path / "t.svg").read_text().count("<path") > sum(len(run.trace) for run in runs)
    lanes = {queue for run in runs for queue in np.unique(run.trace["queue"])}
    assert lanes == set(range(len(GANG_QUEUES)))


@pytest.fixture(scope="module")
def file(program, tmp_path_factory):
    path = tmp_path_factory.mktemp("gang") / "digits2.mkl"
    program.save(path)
    return path


def test_the_command(file, runs, tmp_path):
    done = CliRunner().invoke(cli, ["profile", str(file), "--device", "chip2_tiny", "-o",
                                    str(tmp_path)], catch_exceptions=False)
    assert done.exit_code == 0
    assert "digits_int8 on 2 cores of chip2_tiny together" in done.output
    assert "completion of an AWAIT" in done.output and "other cores of the gang" in done.output
    (last,) = (line for line in done.output.splitlines() if line.startswith("cycles  "))
    assert last.split() == ["cycles", *(f"{run.counters['CYCLES']:,}" for run in runs)]
    assert json.loads((tmp_path / "profile.json").read_text())["ranks"] == 2


def test_what_is_refused(program):
    with pytest.raises(ProgramError, match="takes 2 cores together, and this is of one alone: pro"):
        profile.measure(program)
    with pytest.raises(ProgramError, match="takes 2 cores together, and this is of one alone"):
        bisect.bisect(program)
    with pytest.raises(ProgramError, match="takes 2 cores together, and there are 1"):
        chip_run.measure(program, CHIP, 1)
