# SPDX-License-Identifier: Apache-2.0
"""The comparison of precisions on the shipped network."""

import json
import subprocess
import sys

import numpy as np
import pytest

from examples.digits import held_out
from isa.presets import PRESETS
from makalu.measure import accuracy, witness

MODEL = "examples/digits_fp32.onnx"
SAMPLES = 12


@pytest.fixture(scope="module")
def rows():
    images, labels = (a[:SAMPLES] for a in held_out())
    return accuracy.measure(MODEL, PRESETS["tiny_fp"], {"image": images}, labels), images, labels


def test_rows(rows):
    found, images, labels = rows
    by = {r["precision"]: r for r in found}
    assert list(by) == ["fp32", "int8", "fp16", "bf16", "mixed"]
    truth, = witness.reference(MODEL, {"image": images}).values()
    assert by["fp32"]["accuracy"] == (truth.argmax(axis=1) == labels).mean()
    assert by["fp16"]["sqnr_db"] >= 55 > by["bf16"]["sqnr_db"] > by["int8"]["sqnr_db"] > 25
    # its layers were chosen with FP32 in place of FP16
    assert by["mixed"]["sqnr_db"] > 34 and len(by["mixed"]["choices"]) == 10
    for name in ("fp16", "bf16"):
        assert by[name]["same_top1_with_margin"] == by[name]["with_margin"] > SAMPLES / 2
        assert by[name]["roofline_cycles"] > by["int8"]["roofline_cycles"]
        assert by[name]["dram_bytes"] > by["int8"]["dram_bytes"]


def test_a_known_distance(monkeypatch):
    """Outputs that are off by a hundredth: 40 dB."""
    images, labels = (a[:4] for a in held_out())
    truth, = witness.reference(MODEL, {"image": images}).values()

    class Off(accuracy.Session):
        def run(self, inputs, progress=None):
            self.counters = [{}]
            return {name: truth * np.float32(1.01) for name in witness.reference(MODEL, inputs)}

    monkeypatch.setattr(accuracy, "Session", Off)
    row = accuracy.measure(MODEL, PRESETS["tiny_fp"], {"image": images}, labels, ["fp16"])[1]
    assert abs(row["sqnr_db"] - 40) < 0.01 and abs(row["max_relative_error"] - 0.01) < 1e-4
    assert row["same_top1"] == 4


def test_picture(rows, tmp_path):
    accuracy.draw(rows[0], tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"


def command(*arguments):
    return subprocess.run([sys.executable, "-m", "makalu", "accuracy", MODEL, "--input",
                           "examples/digits_test.npz", *arguments], text=True, capture_output=True)


def test_the_command():
    done = command("--labels", "labels", "--precision", "fp16", "--config", "tiny_fp", "--samples",
                   "3", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [r["precision"] for r in result["rows"]] == ["fp32", "fp16"]
    assert result["rows"][1]["samples"] == 3


def test_labels_that_are_not_there():
    done = command("--labels", "answers")
    assert done.returncode == 1 and "image, labels" in done.stderr
