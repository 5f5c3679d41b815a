# SPDX-License-Identifier: Apache-2.0
"""``makalu quote``: the numbers are those of the compiler's report, at a clock."""

import json

import pytest

from examples.digits import INT8
from isa.program import Program
from makalu import facts
from tests.makalu.cli.test_cli import makalu

HOST = ("--host", "all")


@pytest.fixture(scope="module")
def quoted():
    return json.loads(makalu("quote", INT8, *HOST, "--batch", 1, "--batch", 4, "--mhz", 50,
                             "--json").stdout)


def test_it_says_what_the_report_says(quoted):
    said = json.loads(makalu("report", INT8, *HOST, "--json").stdout)
    one, four = quoted["batches"]
    assert (one["cycles"], one["roofline_cycles"], one["moved_bytes"], one["roofline_share"]) == (
        said["predicted_cycles"], said["roofline_cycles"], said["dram_bytes"],
        said["predicted_share"])
    assert [one["batch"], four["batch"]] == [1, 4] and quoted["host_nodes"] == 2
    assert one["microseconds"] == pytest.approx(one["cycles"] / 50)
    assert four["elements_per_second"] == pytest.approx(4 * 50e6 / four["cycles"], rel=1e-6)
    assert one["cycles"] < four["cycles"] < 4 * one["cycles"]


def test_a_program_is_quoted_as_it_is(tmp_path, quoted):
    path = tmp_path / "four.mkl"
    makalu("compile", INT8, *HOST, "--batch", 4, "-o", path)
    (row,) = json.loads(makalu("quote", path, "--mhz", 50, "--json").stdout)["batches"]
    assert row == quoted["batches"][1]
    assert row == facts.cost(Program.load(path)).at(50, 4)
    assert "whose batch is fixed" in makalu("quote", path, "--batch", 4, code=1).stderr


def test_the_table(quoted):
    text = makalu("quote", INT8, *HOST, "--batch", 1, "--batch", 4, "--mhz", 50).stdout
    assert "at 50 MHz" in text and "2 nodes run on the host" in text
    for row in quoted["batches"]:
        assert f"{row['cycles']:,}" in text and f"{row['held_bytes']:,}" in text


def test_a_model_of_a_fixed_batch(tmp_path):
    import onnx

    model = onnx.load(INT8)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 2
    path = tmp_path / "fixed.onnx"
    onnx.save(model, path)
    said = makalu("quote", path, *HOST, "--batch", 4, code=1).stderr
    assert "its batch is fixed to 2" in said
    assert json.loads(makalu("quote", path, *HOST, "--json").stdout)["batches"][0]["batch"] == 2
