# SPDX-License-Identifier: Apache-2.0
"""Inputs beside a model: which are found, and how photos are cut."""

import numpy as np
import pytest
from PIL import Image

from makalu.measure.samples import random_inputs, samples
from runtime.ports import Port

BYTES = Port("x", np.dtype(np.int8), (1, 4, 3))
COLOR = Port("x", np.dtype(np.uint8), (1, 64, 64, 3))


def test_random_inputs():
    x = random_inputs([Port("f", np.dtype(np.float32), (50,)),
                       Port("i", np.dtype(np.int8), (500,))])
    assert x["f"].dtype == np.float32 and -1 <= x["f"].min() < 0 < x["f"].max() <= 1
    assert x["i"].dtype == np.int8 and x["i"].min() < -100 and x["i"].max() > 100


def test_an_array_that_fits_with_its_labels(tmp_path):
    np.savez(tmp_path / "a.npz", wrong=np.zeros((9, 4, 3)), mfcc=np.ones((9, 4, 3), np.int8),
             label=np.arange(9))
    np.savez(tmp_path / "b.npz", other=np.ones((9, 5), np.int8))
    (tmp_path / "c.npz").write_bytes(b"nonsense")
    found = samples(tmp_path / "net.onnx", [BYTES], 3)
    assert len(found) == 9 and found.given and found.source == "a.npz"
    assert (found.inputs["x"] == 1).all()
    assert found.labels is not None and found.labels.tolist() == list(range(9))


def test_all_archives_count_and_labels_only_of_all(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones((2, 4, 3), np.int8), labels=np.arange(2))
    np.savez(tmp_path / "b.npz", x=np.ones((3, 4, 3), np.int8))
    found = samples(tmp_path / "net.onnx", [BYTES], 3)
    assert len(found) == 5 and found.labels is None and found.source == "a.npz, b.npz"


def test_several_inputs_go_by_name(tmp_path):
    ports = [Port("a", np.dtype(np.int8), (1, 2)), Port("b", np.dtype(np.int8), (1, 2))]
    np.savez(tmp_path / "a.npz", p=np.ones((2, 2), np.int8), q=np.ones((2, 2), np.int8))
    assert not samples(tmp_path / "net.onnx", ports, 1).given
    np.savez(tmp_path / "b.npz", a=np.ones((2, 2), np.int8), b=np.zeros((2, 2), np.int8))
    found = samples(tmp_path / "net.onnx", ports, 1)
    assert found.inputs["a"].all() and not found.inputs["b"].any() and len(found) == 2


def test_random_where_nothing_fits(tmp_path):
    found = samples(tmp_path / "net.onnx", [BYTES], 3)
    assert len(found) == 3 and not found.given and found.source.startswith("random")


@pytest.mark.parametrize("size,left,top", [((146, 73), 41.5, 4.5), ((73, 146), 4.5, 41.5)])
def test_photos_are_scaled_and_cut_out_of_the_middle(tmp_path, size, left, top):
    """The shorter side becomes 73 = 64 * 146 / 128, which leaves the pictures as large as they are:
    a horizontal and a vertical ramp show what is cut off."""
    (tmp_path / "photos").mkdir()
    ramp = np.zeros((size[1], size[0], 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(size[0]), np.arange(size[1])[:, None]
    Image.fromarray(ramp).save(tmp_path / "photos" / "ramp.bmp")
    (tmp_path / "photos" / "labels.txt").write_text("ramp")
    found = samples(tmp_path / "net.onnx", [COLOR], 3)
    assert found.source == "photos/" and found.inputs["x"].shape == (1, 64, 64, 3)
    corner = found.inputs["x"][0, 0, 0]
    assert abs(int(corner[0]) - left) <= 1 and abs(int(corner[1]) - top) <= 1
    assert found.inputs["x"][0, 0, 63, 0] == corner[0] + 63
    assert not samples(tmp_path / "net.onnx", [BYTES], 3).given
