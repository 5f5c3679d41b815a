# SPDX-License-Identifier: Apache-2.0
"""Who quantizes, and calibration data that do not do."""

import importlib.util

import numpy as np
import pytest

import makalu
from examples.digits import FP32, INPUT, held_out

IMAGES = held_out()[0][:4]


def test_a_missing_nncf_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(makalu.CompileError, match=r"pip install 'makalu\[nncf\]'"):
        makalu.compile(FP32, "tiny", quantizer="nncf", calibration={INPUT: IMAGES})


@pytest.mark.parametrize("options", [{"quantizer": "mine"},
                                     {"quantizer": "nncf", "precision": "mixed"}])
def test_quantizers_that_are_none(options):
    with pytest.raises(makalu.CompileError, match="leave --quantize out"):
        makalu.compile(FP32, "tiny_fp", **options)


@pytest.mark.parametrize("calibration, batch, words", [
    (None, 1, "it is an FP32 model"),
    ({"other": IMAGES}, 1, "none of its arrays"),
    ({INPUT: IMAGES}, 8, "has 4 samples, and the network takes 8 at once"),
    ([{"other": IMAGES}], 1, "it lacks input 'image'")])
def test_calibration_data_that_do_not_fit(calibration, batch, words):
    with pytest.raises(makalu.CompileError, match=words):
        makalu.compile(FP32, "tiny", calibration=calibration, batch=batch)


def test_several_samples_of_a_batch():
    program = makalu.compile(FP32, "tiny", host=("all",), calibration={INPUT: IMAGES}, batch=2)
    assert np.isfinite(next(iter(makalu.run(program, IMAGES).values()))).all()
