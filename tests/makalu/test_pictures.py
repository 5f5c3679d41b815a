# SPDX-License-Identifier: Apache-2.0
"""Pictures as inputs: which part of them, which values."""

import numpy as np
import pytest
from PIL import Image

from makalu.pictures import Pictures
from runtime.ports import InputError, Port

FLOAT = Port("x", np.dtype(np.float32), (1, 3, 4, 4))


@pytest.fixture
def stripes(tmp_path):
    """12 x 4 pixels: a red, a green and a blue square side by side."""
    path = tmp_path / "stripes.png"
    Image.fromarray(np.repeat(np.eye(3, dtype=np.uint8)[None] * 255, 4, 0).repeat(4, 1)).save(path)
    return path


@pytest.fixture
def gray(tmp_path):
    path = tmp_path / "gray.png"
    Image.new("RGB", (4, 4), (0, 51, 255)).save(path)
    return path


def test_the_middle_is_cut_out_by_default(stripes):
    x = Pictures().read(stripes, FLOAT)[0]
    assert (x[1] == 1).all() and not x[0].any() and not x[2].any()


def test_a_squeezed_picture_has_all_colors(stripes):
    x = Pictures(fit="squeeze").read(stripes, FLOAT)[0]
    assert (x.reshape(3, -1).max(axis=1) > 0.5).all()


def test_a_padded_picture_has_black_around_it(stripes):
    x = Pictures(fit="pad").read(stripes, FLOAT)[0]
    assert not x[:, 0].any() and not x[:, 3].any() and x[:, 1:3].any()


def test_a_share_of_the_middle(tmp_path):
    ramp = np.arange(16, dtype=np.uint8)[None].repeat(16, 0) * 16
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    port = Port("x", np.dtype(np.uint8), (1, 1, 8, 8))
    x = Pictures(crop=0.5).read(tmp_path / "ramp.png", port)
    assert x[0, 0].tolist() == ramp[4:12, 4:12].tolist()


def test_mean_and_deviation_of_each_channel(gray):
    x = Pictures(mean=(0.5, 0.1, 0.0), std=(0.5, 0.1, 2.0)).read(gray, FLOAT)[0]
    assert np.allclose(x[:, 0, 0], [-1, 1, 0.5])
    assert np.allclose(Pictures(white=255, mean=(51,)).read(gray, FLOAT)[0, :, 0, 0],
                       [-51, 0, 204])


@pytest.mark.parametrize("scale,zero,how,want", [
    (1.0, -128, {}, [-128, -77, 127]),              # bytes
    (1 / 255, -128, {}, [-128, -77, 127]),          # from 0 to 1
    (1 / 128, 0, {"mean": (0.5,), "std": (0.5,)}, [-128, -77, 127])])  # from -1 to 1
def test_integers_are_quantized_as_the_network_says(gray, scale, zero, how, want):
    port = Port("x", np.dtype(np.int8), (1, 4, 4, 3), scale, zero)
    assert Pictures(**how).read(gray, port)[0, 0, 0].tolist() == want


def test_layout_by_hand(gray):
    port = Port("x", np.dtype(np.float32), (1, 3, 4, 3))
    assert Pictures(layout="nhwc").read(gray, port)[0, 0, 0].tolist() == pytest.approx([0, 0.2, 1])
    assert Pictures().read(gray, port)[0, :, 0, 0].tolist() == pytest.approx([0, 0.2, 1])


@pytest.mark.parametrize("port,how,words", [
    (Port("x", np.dtype(np.int8), (1, 4, 4, 3)), {}, "quantization of input x.* is not known"),
    (Port("x", np.dtype(np.float32), (1, 8)), {}, "takes no picture"),
    (FLOAT, {"std": (1.0, 0.0, 1.0)}, "standard deviation of 0"),
    (FLOAT, {"mean": (1.0, 2.0)}, "2 values of mean for 3 channels")])
def test_refused(gray, port, how, words):
    with pytest.raises(InputError, match=words):
        Pictures(**how).read(gray, port)
