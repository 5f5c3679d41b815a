# SPDX-License-Identifier: Apache-2.0
"""``makalu zoo`` on a folder with the shipped networks: what it compares, and that it complains."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner, Result

from examples.digits import FP32, INT8, held_out
from makalu.cli.main import cli
from makalu.measure import zoo
from makalu.measure.networks import MODELS
from makalu.measure.nodes import compare_nodes
from makalu.measure.witness import Arithmetic, reference, saturates
from runtime.golden_device import GoldenDevice
from sim.device import RtlDevice

COUNT = 6
pytestmark = pytest.mark.skipif(saturates(), reason="ONNX Runtime saturates on this processor")


@pytest.fixture
def folder(tmp_path):
    for model in (INT8, FP32):
        shutil.copy(model, tmp_path)
    images, labels = held_out()
    np.savez(tmp_path / "some.npz", pictures=images[:COUNT], label=labels[:COUNT])
    return tmp_path


def accuracy() -> float:
    """Of ONNX Runtime on the images that the folder gets."""
    images, labels = held_out()
    logits = reference(INT8, {"image": images[:COUNT]})["logits"]
    return float((logits.argmax(axis=1) == labels[:COUNT]).mean())


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["zoo", *map(str, arguments)])


def test_everything_holds_on_the_smallest_machine(folder):
    done = run(folder, "--config", "tiny", "--rtl", 1, "--json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    skipped, row = result["networks"]
    assert "it is an FP32 model" in skipped["skipped"] and not skipped["violations"]
    assert (row["inputs"], row["source"], row["given"]) == (COUNT, "some.npz", True)
    logits, = row["outputs"].values()
    assert (logits["elements"], logits["rows"], logits["same_top1"]) == (10 * COUNT, COUNT, COUNT)
    assert row["accuracy"] == {"golden": accuracy(), "onnxruntime": accuracy()}
    assert {k: v["different"] for k, v in row["nodes"].items() if k in ("Conv", "Gemm")} == {
        "Conv": 0, "Gemm": 0}
    assert row["nodes"]["Conv"]["elements"] % COUNT == 0 < row["nodes"]["Conv"]["elements"]
    assert row["rtl"] == {memory: {"same": 1, "inputs": 1} for memory in zoo.MEMORIES}
    assert [p["node"] for p in row["host"]] == ["image_QuantizeLinear", "logits_DequantizeLinear"]
    assert "digits_int8: node by node, 6 inputs (some.npz)" in done.stderr


def test_tables(folder):
    done = run(folder, "--config", "tiny", "--rtl", 0)
    assert done.exit_code == 0
    for words in ("6 of 6", f"{100 * accuracy():.1f} % / ", "digits_int8: 6 inputs: some.npz",
                  "On the host: digits_int8: image_QuantizeLinear (QuantizeLinear)",
                  "Skipped: digits_fp32: it is an FP32 model",
                  "All requirements hold, of 1 of 2 networks."):
        assert words in done.stdout


def test_nothing_checked_is_a_failure(folder):
    (folder / "digits_int8.onnx").unlink()
    done = run(folder, "--config", "tiny", "--rtl", 0)
    assert done.exit_code == 1 and "Nothing was checked." in done.stdout
    assert "All requirements hold" not in done.stdout


def test_fp32_networks_in_fp16(folder, monkeypatch):
    done = run(folder, "--precision", "fp16", "--config", "tiny_fp", "--rtl", 1, "--json")
    assert done.exit_code == 0, done.output
    row, skipped = json.loads(done.stdout)["networks"]
    assert "it is quantized" in skipped["skipped"]
    (logits,) = row["outputs"].values()
    assert logits["sqnr_db"] > 60 and logits["same_top1"] == COUNT and row["nodes"] == {}
    assert row["rtl"] == {memory: {"same": 1, "inputs": 1} for memory in zoo.MEMORIES}
    text = run(folder, "--precision", "fp16", "--rtl", 0).stdout
    assert "Golden model of core256_fp" in text and f"{logits['sqnr_db']:.1f}" in text
    monkeypatch.setitem(zoo.LEAST, "fp16", 90.0)
    done = run(folder, "--precision", "fp16", "--rtl", 0)
    assert done.exit_code == 1 and "90 dB are required of fp16" in done.stderr


def test_without_inputs_they_are_random(folder):
    (folder / "some.npz").unlink()
    row = json.loads(run(folder, "--config", "tiny", "--rtl", 0, "--samples", 2,
                         "--json").stdout)["networks"][1]
    assert row["inputs"] == 2 and row["source"].startswith("random") and not row["given"]
    assert row["accuracy"] is None


def complaints(done: Result) -> list[str]:
    assert done.exit_code == 1 and "A requirement does not hold." in done.stdout
    return [line for line in done.stderr.splitlines()
            if line.startswith("makalu: digits_int8, ")]


def test_a_different_witness_is_a_violation(folder, monkeypatch):
    def other(model, inputs, arithmetic=Arithmetic.DEFAULT):
        return {k: np.roll(v, 1, axis=1) for k, v in reference(model, inputs, arithmetic).items()}

    monkeypatch.setattr(zoo, "reference", other)
    top, steps = complaints(run(folder, "--config", "tiny", "--rtl", 0))
    assert f"the largest element is ONNX Runtime's in 0 of {COUNT}; it has to be in all" in top
    assert "steps from ONNX Runtime's; 2 are allowed" in steps


def test_a_different_node_is_a_violation(folder, monkeypatch):
    def other(model, feeds, config):
        found = compare_nodes(model, feeds, config)
        for kind in ("Conv", "Add"):
            found[kind].add(np.zeros(3), np.array([0, 1, 0]), "some_value")
        return found

    monkeypatch.setattr(zoo, "compare_nodes", other)
    line, = complaints(run(folder, "--config", "tiny", "--rtl", 0))
    assert "nodes of the kind Conv: 1 of" in line and "first in 'some_value'" in line


def test_a_different_bit_of_the_hardware_is_a_violation(folder, monkeypatch):
    class Broken(RtlDevice):
        """The RTL with a stuck bit in its output."""

        def execute(self, inputs):
            result = super().execute(inputs)
            result.outputs[0] ^= 1
            return result

    monkeypatch.setattr(zoo, "RtlDevice", Broken)
    lines = complaints(run(folder, "--config", "tiny", "--rtl", 1))
    assert len(lines) == 2 and all("0 of 1 outputs are the golden model's bytes" in line
                                   for line in lines)


def test_recorder_keeps_the_first_executions():
    from makalu import compile
    program = compile(INT8, "tiny", host=("all",))
    recorder = zoo.Recorder(GoldenDevice(program.config), 2)
    recorder.load(program)
    for value in range(3):
        region = np.full(program.inputs[0].size, value, np.uint8)
        recorder.execute(region)
    assert [inputs[0] for inputs, _ in recorder.runs] == [0, 1]


def test_needs_a_folder(monkeypatch, tmp_path):
    monkeypatch.delenv(MODELS, raising=False)
    for arguments, words in (([], "no folder of networks is named; give one, or set MAKALU_MODELS"),
                             ([tmp_path / "no"], "there is no folder"),
                             ([tmp_path], "there is no .onnx file")):
        done = run(*arguments)
        assert done.exit_code == 1 and words in str(done.exception)
