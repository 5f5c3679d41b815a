# SPDX-License-Identifier: Apache-2.0
"""The profile of the shipped network on the smallest machine: tables that add up, files that others
can read."""

import json
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from examples.digits import INT8
from isa.instructions import QUEUES
from isa.registers import BUCKET_NAMES
from makalu import api
from makalu.cli.profile_table import show
from makalu.facts import dram_bytes
from makalu.see import profile
from makalu.see.perfetto import events
from makalu.see.timeline import colors, draw


def moved_bytes(program):
    """Of DRAM, without the instructions themselves."""
    return dram_bytes(program) - sum(map(len, program.codes()))


@pytest.fixture(scope="module")
def run():
    return profile.measure(api.compile(INT8, "tiny", host=("all",)))


def test_layers_add_up(run):
    rows = profile.layers(run)
    program = run.program
    assert [r["layer"] for r in rows[:3]] == ["conv1", "block1_dw", "block1_pw"]
    assert sum(r["cycles"] for r in rows) == run.trace["done"].max()
    assert sum(r["instructions"] for r in rows) == program.instruction_count - 1
    assert sum(r["macs"] for r in rows) == program.macs
    assert sum(r["dram_bytes"] for r in rows) == moved_bytes(program)
    assert sum(r["predicted_cycles"] for r in rows) == sum(program.predicted_cycles)
    conv2 = next(r for r in rows if r["layer"] == "conv2")
    assert conv2["roofline_cycles"] == conv2["macs"] / program.config.macs


def test_no_layer_reaches_more_than_its_roofline(run):
    """Though those that hide behind others move the latest completion by less than their work."""
    rows = profile.layers(run)
    assert all(r["roofline_share"] is None or 0 < r["roofline_share"] <= 1 for r in rows)
    assert all(r["cycles"] <= run.counters["CYCLES"] >= r["under_way_cycles"] > 0 for r in rows)


def test_cycles_under_way():
    trace = np.zeros(4, [("start", "i8"), ("done", "i8")])
    trace["start"], trace["done"] = [20, 2, 5, 31], [25, 8, 12, 40]
    assert profile.under_way(trace) == 5 + 10 + 9


def test_stalls_are_those_of_the_instructions(run):
    """The most of what each layer's instructions lost, counted one by one."""
    names = [run.program.node_name(k) or "(none)" for k in range(len(run.trace))]
    labels = profile.labels(names)
    for row in profile.layers(run):
        lost, queues = {}, set()
        for index, name in enumerate(names):
            if labels[name] != row["layer"]:
                continue
            queue = QUEUES[run.trace["queue"][index]]
            queues.add(queue)
            for bucket, cycles in zip(BUCKET_NAMES, run.trace["cycles"][index], strict=True):
                if bucket not in ("active", "idle"):
                    lost[queue, bucket] = lost.get((queue, bucket), 0) + int(cycles)
        shown = queues & {"tensor", "window", "vector"} or {"load", "store"}
        most = sorted((n for (queue, _), n in lost.items() if queue in shown and n), reverse=True)
        assert [s["cycles"] for s in row["stalls"]] == most[:2]
        assert all(lost[s["engine"], s["bucket"]] == s["cycles"] for s in row["stalls"])


def test_engines_add_up(run):
    engines = profile.engines(run)
    assert list(engines) == list(QUEUES)
    for buckets in engines.values():
        assert sum(buckets.values()) == run.counters["CYCLES"]
        percent = profile.percentages(buckets)
        assert round(sum(percent.values()), 6) == 100
        for name, n in buckets.items():
            assert abs(percent[name] - 100 * n / run.counters["CYCLES"]) < 0.1


def test_percentages_round_up_those_that_lose_most():
    assert profile.percentages({"a": 1, "b": 1, "c": 1}) == {"a": 33.4, "b": 33.3, "c": 33.3}
    assert profile.percentages({"a": 2, "b": 1}) == {"a": 66.7, "b": 33.3}


def test_labels():
    names = ["net/net/conv_0/fold/bias", "net/net/conv_0_dw/fold/bias", "net/pool", "(none)"]
    assert list(profile.labels(names).values()) == [
        "conv_0/fold/bias", "conv_0_dw/fold/bias", "pool", "(none)"]
    assert profile.labels(["a/b", "a/c", "a"]) == {"a/b": "b", "a/c": "c", "a": "a"}
    assert profile.labels(["x/1", "x/1/x"]) == {"x/1": "x/1", "x/1/x": "x/1/x"}


def test_frontier_and_spans():
    trace = np.zeros(4, [("queue", "u4"), ("dispatch", "i8"), ("start", "i8"), ("done", "i8")])
    trace["queue"] = [0, 1, 0, 0]
    trace["dispatch"], trace["start"], trace["done"] = [1, 2, 3, 30], [2, 9, 5, 31], [8, 20, 12, 40]
    assert profile.frontier(trace).tolist() == [8, 12, 0, 20]
    assert profile.spans(trace).tolist() == [[1, 2, 5], [2, 9, 20], [5, 5, 12], [30, 31, 40]]


def test_perfetto(run):
    """What the viewers want: metadata, complete events inside the run, no overlap in a thread."""
    trace = json.loads(json.dumps(events([run])))
    assert trace.keys() == {"displayTimeUnit", "traceEvents"}
    names, spans, found, counters = {}, {}, {}, {}
    for e in trace["traceEvents"]:
        assert isinstance(e["name"], str) and e["pid"] == 1 and isinstance(e["args"], dict)
        if e["ph"] == "M":
            if e["name"] == "thread_name":
                names[e["tid"]] = e["args"]["name"]
            continue
        if e["ph"] == "C":
            counters.setdefault(e["name"], []).append((e["ts"] * 1000, e["args"]["value"]))
            continue
        assert e["ph"] == "X" and e["ts"] >= 0 and e["dur"] > 0
        start, end = round(e["ts"] * 1000), round((e["ts"] + e["dur"]) * 1000)
        assert end <= run.counters["CYCLES"]
        spans.setdefault(e["tid"], []).append((start, end))
        if e["cat"] != "wait":
            found[e["args"]["index"]] = e
    assert names == dict(enumerate(QUEUES)) and spans.keys() <= names.keys()
    for times in spans.values():
        times.sort()
        assert all(a[1] <= b[0] for a, b in zip(times, times[1:], strict=False))
    for index, instruction in enumerate(run.program.instructions()[:-1]):
        e = found[index]
        assert e["cat"] == instruction.opcode.name
        assert round(e["ts"] * 1000) == run.trace["start"][index]
        assert e["args"]["disassembly"] == str(instruction)
        assert e["args"]["node"] == run.program.node_name(index)
        assert e["args"]["done"] == run.trace["done"][index]
        assert e["args"]["cycles"].keys() <= set(BUCKET_NAMES)
        assert bool(e["args"]["waits"]) == bool(instruction.wait_mask)
    assert "1 ns = 1 cycle" in trace["traceEvents"][0]["args"]["name"]
    # a counter's area is what it counts
    area = {name: sum(value * (b - a) for (a, value), (b, _) in pairwise(steps))
            for name, steps in counters.items()}
    moved = moved_bytes(run.program)
    assert area["DRAM, bytes a cycle"] == pytest.approx(moved, rel=1e-3)
    active = run.counters["TENSOR_ACTIVE"]
    assert area["array at work, %"] / 100 == pytest.approx(active, rel=0.02)
    assert max(value for _, value in counters["array at work, %"]) <= 100


def test_the_picture(run, tmp_path):
    draw([run], tmp_path / "t.svg")
    text = (tmp_path / "t.svg").read_text()
    assert text.count("<path") > len(run.trace)
    draw([run], tmp_path / "t.png")
    assert (tmp_path / "t.png").read_bytes()[:4] == b"\x89PNG"


def test_colors_of_neighbors_differ():
    shades = list(colors([str(k) for k in range(40)]).values())
    assert len(set(shades)) == 40
    assert all(np.abs(np.subtract(a, b)).max() > 0.2 for a, b in zip(shades, shades[1:]))


def test_the_tables(run, capsys):
    show(run)
    text = capsys.readouterr().out
    assert f"{run.counters['CYCLES']:,} cycles" in text and "weights not there" in text
    assert "block2_pw" in text


def test_without_profile_there_are_layers_alone(run, capsys):
    """As on a machine that has no counters for it."""
    bare = run.trace.copy()
    bare["cycles"] = 0
    counters = {k: v for k, v in run.counters.items() if not k.startswith(
        tuple(q.upper() for q in QUEUES))}
    other = profile.Run(run.program, bare, counters)
    assert profile.engines(other) == {} and all(not r["stalls"] for r in profile.layers(other))
    show(other)
    assert "no counters" in capsys.readouterr().out


def test_the_command(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "makalu", "profile", INT8, "--host", "all", "--config", "tiny", "-o",
         tmp_path / "out", "--json"], text=True, capture_output=True, check=True)
    result = json.loads(done.stdout)
    assert [p.name for p in sorted((tmp_path / "out").iterdir())] == [
        "profile.json", "timeline.png", "trace.json"]
    assert len(result["files"]) == 3 and result["engines"]["tensor"]["percent"]["active"] > 50
    assert json.loads((tmp_path / "out" / "profile.json").read_text()) == {
        k: v for k, v in result.items() if k != "files"}
    first = next(e for e in json.loads((tmp_path / "out" / "trace.json").read_text())[
        "traceEvents"] if e["ph"] == "X" and e["cat"] == "LOAD")
    assert first["args"]["disassembly"].startswith("LOAD")
