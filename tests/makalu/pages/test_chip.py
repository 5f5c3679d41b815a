# SPDX-License-Identifier: Apache-2.0
"""The table of several cores."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from isa.chip import CHIPS
from isa.presets import PRESETS
from makalu import api
from makalu.measure.networks import SHIPPED, of_files
from makalu.pages import chip, leases, split
from makalu.pages.chip import inputs
from makalu.pages.kept import Kept
from runtime.device import Result
from runtime.golden_device import GoldenDevice


@pytest.mark.parametrize("name,width,channels,bandwidth", [
    ("core256", 16, 1, 1.0), ("core256", 32, 2, 1.0), ("core256", 8, 1, 0.5),
    ("core1024", 64, 2, 1.0), ("core1024", 48, 2, 0.75), ("tiny", 8, 1, 1.0)])
def test_a_memory_moves_so_many_bytes(name, width, channels, bandwidth):
    config = PRESETS[name]
    model = chip.memory(config, width)
    assert (model.channels, model.bandwidth) == (channels, bandwidth)
    assert model.channels * model.bandwidth * config.bus_bytes == width


def test_rows_of_the_shipped_network():
    network, = of_files([SHIPPED])
    one, two = chip.measured(network, "tiny", 0, [4], [1, 2])
    assert (one["network"], one["machine"], one["width"], one["cores"]) == (
        "digits_int8", "tiny", 4, 1)
    assert one["first"] == one["last"] < two["first"] <= two["last"]
    assert two["bytes"] == 2 * one["bytes"]
    assert two["model"] / one["model"] == pytest.approx(two["last"] / one["last"], rel=0.02)


def test_rows_of_a_chip():
    network, = of_files([SHIPPED])
    one, two = chip.measured(network, "chip2_tiny", 0, [], [1, 2])
    assert (two["machine"], two["width"], two["cores"]) == ("chip2_tiny", 16, 2)
    assert one["last"] <= two["last"] < 1.05 * one["last"]


def test_a_wrong_bit_is_found(monkeypatch):
    class Wrong(GoldenDevice):
        def execute(self, inputs: np.ndarray) -> Result:
            result = super().execute(inputs)
            result.outputs[3] ^= 1
            return result

    monkeypatch.setattr(chip, "GoldenDevice", Wrong)
    network, = of_files([SHIPPED])
    with pytest.raises(AssertionError, match="digits_int8 on core 0 of 1: bits"):
        next(chip.measured(network, "tiny", 0, [8], [1]))


@pytest.mark.parametrize("kept", [chip.KEPT, split.KEPT, leases.KEPT], ids=lambda kept: kept.name)
def test_the_page_shows_what_is_beside_it(tmp_path: Path, kept):
    page, rows = kept.page.read_text(), kept.rows()
    copy = replace(kept, page=tmp_path / "chip.md", figures=tmp_path / "rows.json")
    begin, end = f"<!-- {kept.name} -->\n", f"<!-- end of {kept.name} -->"
    copy.page.write_text(page.split(begin)[0] + begin + "something else\n" + end
                         + page.split(end)[1])
    copy.write(rows[::-1])
    assert copy.page.read_text() == page and copy.rows() == rows


def test_a_row_takes_the_place_of_the_one_with_its_key(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("<!-- some -->\n<!-- end of some -->\n")
    some = Kept("some", tmp_path / "some.json", ("what", "value"), ["what"],
                lambda row, rows: (row["what"], f"{row['value']} of {len(rows)}"), page)
    assert some.rows() == []
    some.add({"what": what, "value": value} for what, value in (("b", 1), ("a", 2), ("b", 3)))
    assert some.rows() == [{"what": "a", "value": 2}, {"what": "b", "value": 3}]
    assert "| a | 2 of 2 |\n| b | 3 of 2 |" in page.read_text()


def test_a_network_over_two_cores(monkeypatch):
    """Each row is a run whose bits are those of one core; and a wrong one is found."""
    network, = of_files([SHIPPED])
    one, two = split.measured(network, CHIPS["chip2_tiny"], [2], 1)
    assert (one["cores"], two["cores"]) == (1, 2) and two["cycles"] < 0.6 * one["cycles"]
    monkeypatch.setattr(split, "outputs", lambda program, regions: [~regions[0]])
    with pytest.raises(AssertionError, match="digits_int8 on 1 cores: bits"):
        next(split.measured(network, CHIPS["chip2_tiny"], [2], 1))


def test_leases_of_a_core_each(monkeypatch):
    """The rows of one alone, all at the same time, and one behind the other; of these each core has
    run as often as it should. A wrong bit is found."""
    network, = of_files([SHIPPED])
    chip2 = CHIPS["chip2_tiny"]
    alone, at_once, apart = leases.measured(network, chip2, 0)
    assert [(r["cores"], r["apart"]) for r in (alone, at_once, apart)] == [
        (1, False), (2, False), (2, True)]
    assert alone["cycles"] == alone["slowest"] < apart["cycles"] < at_once["cycles"]
    program = api.compile(network.source(), chip2.core, host=("all",))
    found = leases.executions(program, chip2, inputs(program, 2), 500, 2)
    assert [len(results) for results in found] == [2, 2]
    monkeypatch.setattr(leases, "outputs", lambda program, regions: [~regions[0]])
    with pytest.raises(AssertionError, match="digits_int8 on core 0 of 1: bits"):
        next(leases.measured(network, chip2, 0))


def test_the_model_of_leases_that_begin_apart():
    """Between one alone and all at the same time."""
    network, = of_files([SHIPPED])
    chip4 = CHIPS["chip4_small"]
    program = api.compile(network.source(), chip4.core, host=("all",))
    alone = leases.predicted(program, chip4, 1, 0, 1)
    at_once = leases.predicted(program, chip4, 4, 0, 1)
    apart = leases.predicted(program, chip4, 4, alone // 4, leases.ROUNDS)
    assert alone <= apart < at_once
