# SPDX-License-Identifier: Apache-2.0
"""The profile of a run on both cores of the smallest chip."""

import json
import subprocess
import sys

import pytest

from examples.digits import INT8
from isa.chip import CHIPS
from isa.config import ConfigError
from isa.instructions import QUEUES
from makalu import api
from makalu.cli.profile_table import show_chip
from makalu.measure.samples import random_inputs
from makalu.see import chip_run, profile
from makalu.see.perfetto import events
from makalu.see.timeline import draw
from runtime.session import Session
from sim.chip_device import RtlChip

CHIP = CHIPS["chip2_tiny"]


@pytest.fixture(scope="module")
def program():
    return api.compile(INT8, "tiny", host=("all",))


@pytest.fixture(scope="module")
def run(program):
    return chip_run.measure(program, CHIP)


@pytest.fixture(scope="module")
def runs(run):
    return run.runs


def test_each_core_adds_up(runs):
    assert [run.core for run in runs] == [0, 1]
    for run in runs:
        found = profile.engines(run)
        assert list(found) == list(QUEUES)
        assert all(sum(buckets.values()) == run.counters["CYCLES"] for buckets in found.values())
        rows = profile.layers(run)
        assert sum(row["cycles"] for row in rows) == run.trace["done"].max()
        assert len(run.trace) == run.program.instruction_count - 1
    begins = [run.begin for run in runs]
    assert min(begins) == 0 and 0 < max(begins) < min(run.counters["CYCLES"] for run in runs)


def test_watching_does_not_change_a_cycle(program, runs):
    """And the beginnings fit to the time that the whole takes, from the first job to the
    interrupt."""
    with RtlChip(CHIP) as device:
        session = Session(program, device)
        each = [session.packed(random_inputs(session.inputs, k)) for k in range(2)]
        before = device.harness.cycle
        plain = device.execute_all(each)
        took = device.harness.cycle - before
    assert [run.counters["CYCLES"] for run in runs] == [
        result.counters["CYCLES"] for result in sorted(plain, key=lambda r: r.core)]
    last = max(run.begin + run.counters["CYCLES"] for run in runs)
    assert 0 < took - last < 2000


def test_the_summary(run):
    found = profile.summary_of_chip(run)
    assert found["chip"] == "chip2_tiny" and found["name"] == "digits_int8"
    assert found["cycles"] == max(c["begin"] + c["cycles"] for c in found["cores"])
    assert found["dram_share"] == pytest.approx(
        run.moved_bytes / CHIP.bytes_a_cycle / found["cycles"], rel=1e-3)
    each = [c.counters["DRAM_READ_BYTES"] + c.counters["DRAM_WRITE_BYTES"] for c in run.runs]
    assert max(each) < run.moved_bytes < sum(each)    # weights are read together, once


def test_perfetto_has_a_group_of_tracks_for_each_core(runs):
    found = json.loads(json.dumps(events(runs)))["traceEvents"]
    names = {e["pid"]: e["args"]["name"] for e in found if e["name"] == "process_name"}
    assert [names[k].split(",")[0] for k in (1, 2)] == [
        "digits_int8 on core 0", "digits_int8 on core 1"]
    for run in runs:
        mine = [e for e in found if e["pid"] == run.core + 1 and e["ph"] == "X"]
        assert {e["tid"] for e in mine} == set(run.trace["queue"].tolist())
        work = [e for e in mine if e["cat"] != "wait"]
        assert len(work) == len(run.trace)
        ends = [round(1000 * (e["ts"] + e["dur"])) for e in work]
        assert max(ends) == run.begin + run.trace["done"].max()
        assert min(round(1000 * e["ts"]) for e in work) == run.begin + run.trace["start"].min()


def test_the_picture_and_the_tables(run, runs, tmp_path, capsys):
    draw(runs, tmp_path / "t.svg")
    one, both = tmp_path / "one.svg", tmp_path / "t.svg"
    draw(runs[:1], one)
    assert both.read_text().count("<path") > 1.8 * one.read_text().count("<path")
    show_chip(runs, profile.summary_of_chip(run))
    text = capsys.readouterr().out
    assert "digits_int8 on 2 cores of chip2_tiny" in text and "weights not there" in text
    (last,) = (line for line in text.splitlines() if line.startswith("cycles  "))
    assert last.split() == ["cycles", *(f"{run.counters['CYCLES']:,}" for run in runs)]


def test_many_cores_have_their_progress_alone(runs, tmp_path):
    draw(runs * 3, tmp_path / "t.svg")
    draw(runs, tmp_path / "two.svg")
    assert (tmp_path / "t.svg").read_text().count("<path") < (
        tmp_path / "two.svg").read_text().count("<path")


def test_what_is_refused(program):
    with pytest.raises(ConfigError, match="'chip2_tiny' has 2 cores: use 1 to 2, not 3"):
        chip_run.measure(program, CHIP, 3)


def makalu(*arguments, code=0):
    done = subprocess.run([sys.executable, "-m", "makalu", "profile", INT8, "--host", "all",
                           *arguments], text=True, capture_output=True)
    assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
    return done.stderr if code else done.stdout


def test_the_command(tmp_path, runs):
    found = json.loads(makalu("--config", "tiny", "--device", "chip2_tiny", "--json",
                              "-o", tmp_path / "out"))
    assert [c["cycles"] for c in found["cores"]] == [r.counters["CYCLES"] for r in runs]
    assert json.loads((tmp_path / "out" / "profile.json").read_text()) == {
        k: v for k, v in found.items() if k != "files"}


@pytest.mark.parametrize("arguments, words", [
    (("--cores", "2"), "cores are those of a chip: add --device chip2_tiny or"),
    (("--device", "chip2_tiny"), "'chip2_tiny' are 'tiny', not 'core256': add --config tiny"),
    (("--config", "tiny", "--device", "chip2_tiny", "--cores", "3"), "use 1 to 2, not 3"),
    (("--device", "golden"), "'golden' is not one of 'rtl', 'chip2_tiny'")])
def test_what_the_command_refuses(arguments, words):
    assert words in makalu(*arguments, code=1)
