# SPDX-License-Identifier: Apache-2.0
"""The digits: scikit-learn's 1,797 handwritten ones, 8x8 pixels, split once by a fixed seed."""

from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parent
FP32 = FOLDER / "digits_fp32.onnx"
INT8 = FOLDER / "digits_int8.onnx"
TEST = FOLDER / "digits_test.npz"

INPUT, OUTPUT = "image", "logits"
"""Names of the networks' input (float32 [N, 1, 16, 16], 0 … 1) and output (float32 [N, 10])."""

ENLARGE = 2
"""Times that the 8x8 pictures are enlarged, so that the layers have some space to work in."""

TEST_IMAGES, SEED = 360, 2024


def split() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training images and labels, then test images and labels; needs scikit-learn."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.repeat(np.repeat(digits.images / 16, ENLARGE, axis=1), ENLARGE, axis=2)
    images = images[:, None].astype(np.float32)
    labels = digits.target.astype(np.int64)
    order = np.random.default_rng(SEED).permutation(len(labels))
    test, train = order[:TEST_IMAGES], order[TEST_IMAGES:]
    return images[train], labels[train], images[test], labels[test]


def held_out() -> tuple[np.ndarray, np.ndarray]:
    """The held-out images and labels from the file in this folder."""
    with np.load(TEST) as data:
        return data[INPUT], data["labels"]
