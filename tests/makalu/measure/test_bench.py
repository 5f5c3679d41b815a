# SPDX-License-Identifier: Apache-2.0
"""The benchmark on the smallest machine's RTL, and the page that it writes."""

import json
import threading
from functools import partial
from pathlib import Path

import pytest

from isa.presets import PRESETS
from makalu.measure import bench as benches
from makalu.measure.bench import Bench, Progress, Result, Stopped
from makalu.measure.bench_page import markdown, write
from makalu.measure.networks import SHIPPED, SHIPPED_FP32, Network, of_files

LEFT = {"net_fp32": "FP32; net is beside it"}


def test_the_shipped_network_on_the_smallest_machine(tmp_path):
    said: list[str] = []
    pages: list[str] = []

    def found(result, row):
        pages.append(write(result, LEFT, tmp_path)[0].read_text())

    def broken():
        raise ValueError("no such thing")

    result = Bench([*of_files([SHIPPED]), Network("broken", broken)], ["tiny"], said.append,
                   found).run()
    row, = result.rows
    assert row["golden"] and row["network"] == "digits_int8" and row["config"] == "tiny"
    assert row["cycles"] >= row["roofline_cycles"] > 0 and not row["memory_bound"]
    assert row["precision"] == "int8" and 0 < row["dram_share"] < 1
    assert 0 < row["array_active_share"] <= 1
    assert row["share"] == round(row["roofline_cycles"] / row["cycles"], 4)
    machine = result.machines["tiny"]
    assert machine["verilog_lines"] > 1000 and machine["cycles_per_second"] > 1000
    assert result.skipped == [{"network": "broken", "config": "tiny", "reason": "no such thing"}]
    assert "broken on tiny failed: no such thing" in said

    page, data = write(result, LEFT, tmp_path)
    assert json.loads(data.read_text()) == [row]
    error = 100 * (row["predicted_cycles"] / row["cycles"] - 1)
    assert (f"| digits_int8 | tiny | {row['macs']:,} | {row['cycles']:,} | "
            f"{row['predicted_cycles']:,} | {error:+.1f} % |") in page.read_text()
    assert pages and f"| {row['cycles']:,} |" in pages[0]  # written before the run was over
    assert len(row["host"]) == 2
    assert "- digits_int8: image_QuantizeLinear (QuantizeLinear): " in page.read_text()
    assert "- broken on tiny: no such thing" in page.read_text()
    assert "- net_fp32: FP32; net is beside it" in page.read_text()


@pytest.mark.long    # builds core256_fp
def test_fp16(tmp_path):
    result = Bench(of_files([SHIPPED_FP32]), ["tiny_fp"], lambda line: None,
                   lambda result, row: None, "fp16").run()
    row, = result.rows
    assert row["golden"] and row["precision"] == "fp16" and not result.skipped
    page, data = write(result, {}, tmp_path, "fp16")
    assert (page.name, data.name) == ("benchmarks_fp16.md", "benchmarks_fp16.json")
    assert "in FP16" in page.read_text() and "--precision fp16" in page.read_text()


def test_an_interrupt_ends_the_simulation_and_keeps_the_rows(monkeypatch):
    """The second network interrupts; its machine's thread ends, and the first row is there."""
    rows: list[str] = []
    runs = Bench([*of_files([SHIPPED]), Network("again", partial(Path, SHIPPED))], ["tiny"],
                 lambda line: None, lambda result, row: rows.append(row["network"]))

    class Interrupting(Progress):
        def __call__(self, done: int) -> None:
            if rows:
                self._stop.set()
            super().__call__(done)

    monkeypatch.setattr(benches, "Progress", Interrupting)
    assert [r["network"] for r in runs.run().rows] == rows == ["digits_int8"]
    assert not runs.result.skipped


def test_progress_speaks_after_two_seconds_and_then_seldom(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(benches.time, "monotonic", lambda: now[0])
    said: list[str] = []
    stop = threading.Event()
    progress = Progress(said.append, "net on tiny", "cycles", 9000, stop)
    for seconds, done in ((1, 100), (3, 300), (5, 500), (14, 1400)):
        now[0] = 100.0 + seconds
        progress(done)
    assert said == ["net on tiny: 300 of about 9,000 cycles, 100 a second",
                    "net on tiny: 1,400 of about 9,000 cycles, 100 a second"]
    stop.set()
    with pytest.raises(Stopped):
        progress(1500)


def test_page_sorts_rows_and_names_what_did_not_run():
    def row(network, config, **more):
        return {"network": network, "config": config, "macs": 1000, "cycles": 200,
                "predicted_cycles": 190, "roofline_cycles": 100, "share": 0.5, "dram_bytes": 3200,
                "dram_share": 0.977, "memory_bound": True, "array_active_share": 0.1,
                "golden": True, "host": [], **more}

    result = Result(["a", "b"], ["core256", "core1024"],
                    [row("b", "core1024"), row("b", "core256"), row("a", "core256", golden=False)],
                    {}, [{"network": "c", "config": c, "reason": "node 'x': no"}
                         for c in ("core256", "core1024")])
    text = markdown(result, {})
    lines = [line for line in text.splitlines() if line.startswith(("| a", "| b"))]
    assert [line[:14] for line in lines] == ["| a | core256 ", "| b | core256 ", "| b | core1024"]
    assert "-5.0 %" in lines[0] and "97.7 %" in lines[1] and lines[0].endswith("DIFFERENT |")
    assert "- c on core256 and core1024: node 'x': no" in text
    assert set(PRESETS) >= set(result.configs)
