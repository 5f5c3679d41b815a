# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime as the witness of a decoder."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from makalu.measure.decoding import Witness, compare
from tests.compiler.decoder import decoder, reference

IDS = [3, 1, 4, 1, 5, 9, 2, 6]


@pytest.fixture(params=[False, True], ids=["concat", "scatter"])
def path(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    onnx.save(decoder(layers=2, scatter=request.param), tmp_path / "decoder.onnx")
    return tmp_path / "decoder.onnx"


def test_its_cache_grows(path: Path) -> None:
    want, witness = reference(onnx.load(path), IDS), Witness(path)
    got = [witness.take(IDS[:3]), *(witness.take([token]) for token in IDS[3:])]
    assert np.allclose(got, want[2:], rtol=1e-4, atol=1e-5) and witness.length == len(IDS)


def test_agreement(path: Path) -> None:
    want = reference(onnx.load(path), IDS)[3:7]
    same = compare(path, IDS[:4], list(want), IDS[4:])
    assert (same.tokens, same.same, same.first) == (4, 4, None) and same.sqnr_db > 100
    assert str(same).startswith("all 4 tokens are the likeliest in FP32 as well")


def test_the_first_difference_is_named(path: Path) -> None:
    want = reference(onnx.load(path), IDS)[3:7].copy()
    second, first = np.argsort(want[2])[-2:]
    gap = want[2, first] - want[2, second]
    want[2, second] += 2 * gap
    found = compare(path, IDS[:4], list(want), IDS[4:])
    assert (found.same, found.first) == (3, 2) and found.margin == pytest.approx(gap, rel=1e-3)
    assert "the first other one is 3" in str(found)
