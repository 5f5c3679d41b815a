# SPDX-License-Identifier: Apache-2.0
"""Comparisons count what differs, and batches run in pieces."""

import numpy as np

from examples.digits import FP32, held_out
from makalu.measure.witness import compare, reference


def test_counts_and_steps():
    theirs = np.array([[0.5, 1.0, 2.5], [3.0, 0.0, 0.0]], np.float32)
    ours = theirs + np.array([[0, 0, -1.0], [0, 0, 0]], np.float32)
    a = compare(ours, theirs)
    assert (a.elements, a.different, a.largest, a.step) == (6, 1, 1.0, 0.5)
    assert (a.rows, a.same_top1) == (2, 2)
    assert str(a) == "1 of 6 elements differ, by 1 (2 steps) at most; top-1 is the same in 2 of 2"
    assert str(compare(theirs, theirs)) == "all 6 elements are the same bits"
    ours[0] = [9, 0, 0]
    assert compare(ours, theirs).same_top1 == 1


def test_what_is_not_finite_is_no_agreement():
    theirs = np.ones((2, 3), np.float32)
    ours = theirs.copy()
    ours[1, 0] = np.nan
    a = compare(ours, theirs)
    assert (a.not_finite, a.different, a.same_top1, a.sqnr_db) == ((1, 0), 1, 1, None)
    assert "nan" not in str(a) and "1 of 6 elements are NaN or infinite" in str(a)
    assert not a.reaches(0)
    both = compare(ours, ours)
    assert (both.different, both.same_top1) == (0, 1) and "same bits" not in str(both)


def test_reference_runs_a_whole_batch():
    images, labels = held_out()
    logits = reference(FP32, {"image": images[:20]})["logits"]
    assert logits.shape == (20, 10) and (logits.argmax(axis=1) == labels[:20]).mean() >= 0.9


def test_numbers_lie_on_no_scale():
    theirs = np.linspace(-1, 1, 4000, dtype=np.float32).reshape(4, 1000)
    ours = theirs + np.float32(1e-3) * np.sign(np.sin(np.arange(4000))).reshape(4, 1000)
    a = compare(ours.astype(np.float32), theirs)
    want = 10 * np.log10(float((theirs.astype(np.float64) ** 2).mean()) / 1e-6)
    assert a.step == 0 and abs(a.sqnr_db - want) < 0.1
    assert str(a).startswith(f"{a.sqnr_db:.1f} dB, elements differ by 0.001 at most; top-1")
