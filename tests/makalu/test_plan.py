# SPDX-License-Identifier: Apache-2.0
"""What chips would make of a model: the presets' memories, and the model of time's own figures."""

import json

import pytest
from click.testing import CliRunner

from compiler import compile_model
from compiler.machine.shared import GANG_START, together
from examples.digits import FOLDER, INT8
from isa.chip import CHIPS
from isa.presets import PRESETS
from makalu.cli.main import cli
from makalu.plan import bandwidth, channels, plan, sizes

DIGITS = str(FOLDER / "digits_int8.onnx")


@pytest.mark.parametrize("name", CHIPS)
def test_the_memory_is_that_of_the_presets(name):
    chip = CHIPS[name]
    assert channels(chip.cores) == chip.channels
    assert bandwidth(chip.core, chip.cores) == chip.bytes_a_cycle


def test_sizes():
    assert sizes(64) == [1, 4, 16, 64] and sizes(6) == [1, 4, 6] and sizes(1) == [1]


def test_the_quickest_program_is_taken():
    """Of two, of which the second one is for another network that takes longer."""
    quick = compile_model(INT8, PRESETS["core256"], allow_host=("QuantizeLinear",
                                                                "DequantizeLinear"))
    slow = compile_model(INT8, PRESETS["core256"], batch=3, allow_host=("QuantizeLinear",
                                                                       "DequantizeLinear"))
    one, four = plan([{0.5: slow, 2.0: quick}], [1, 4], 16)
    assert (one.price, four.price) == (2.0, 2.0)
    assert one.alone == one.gang == one.unicast == sum(quick.predicted_cycles)
    assert four.alone == one.alone < four.gang < four.unicast
    apart = [k * GANG_START for k in range(4)]
    assert four.gang == pytest.approx(max(map(sum, zip(apart, together(
        [quick] * 4, 16, apart, gang=True)))), rel=0.02)    # but for the hub's latency
    assert four.a_second(100, 1) == pytest.approx(4e8 / four.gang)


def test_the_command():
    run = CliRunner().invoke(cli, ["plan", DIGITS, "--host", "all", "--cores", "4", "--json"])
    assert run.exit_code == 0, run.output
    found = json.loads(run.output)
    assert [(c["cores"], c["bytes_a_cycle"]) for c in found["chips"]] == [(1, 16), (4, 32)]
    shown = CliRunner().invoke(cli, ["plan", DIGITS, "--host", "all", "--cores", "4"])
    assert "of one alone" in shown.output and "100.0 %" in shown.output


def test_groups_beside_single_cores():
    run = CliRunner().invoke(cli, ["plan", DIGITS, "--host", "all", "--cores", "16", "--groups-of",
                                   "2", "--dram-price", "0.25", "--json"])
    assert run.exit_code == 0, run.output
    chips = json.loads(run.output)["chips"]
    assert [(c["cores"], c["ranks"], c["groups"]) for c in chips] == [
        (1, 1, 1), (4, 1, 4), (4, 2, 2), (16, 1, 16), (16, 2, 8)]
    one, group = chips[1:3]
    assert group["gang"] < group["unicast"] and group["gang"] < one["gang"] < 2 * group["gang"]
    assert group["elements_per_second"] == pytest.approx(2e8 / group["gang"], abs=0.001)
    refused = CliRunner().invoke(cli, ["plan", "net.mkl", "--groups-of", "2"])
    assert refused.exit_code == 1 and "give the model, or leave --groups-of out" in refused.output
