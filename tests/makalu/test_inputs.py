# SPDX-License-Identifier: Apache-2.0
"""Arrays and pictures as inputs."""

import numpy as np
import onnx
import pytest
from PIL import Image

from makalu.inputs import read_inputs, unusual
from runtime.ports import InputError, Port

GRAY = Port("x", np.dtype(np.float32), (1, 1, 4, 6))
COLOR = Port("x", np.dtype(np.uint8), (1, 4, 6, 3))
TWO = [Port("a", np.dtype(np.float32), (1, 2)), Port("b", np.dtype(np.float32), (1, 2))]


@pytest.fixture
def picture(tmp_path):
    def make(name: str, color: tuple[int, int, int]) -> str:
        path = tmp_path / name
        Image.new("RGB", (12, 8), color).save(path)
        return str(path)
    return make


def test_pictures_make_a_batch(picture):
    x = read_inputs([picture("a.png", (255, 255, 255)), picture("b.bmp", (0, 0, 0))], [GRAY])["x"]
    assert x.shape == (2, 1, 4, 6) and x.dtype == np.float32
    assert (x[0] == 1).all() and (x[1] == 0).all()


def test_color_picture_with_channels_last(picture):
    x = read_inputs([picture("a.png", (10, 20, 30))], [COLOR])["x"]
    assert x.shape == (1, 4, 6, 3) and x.dtype == np.uint8
    assert x[0, 0, 0].tolist() == [10, 20, 30]


def test_named_arrays(tmp_path):
    for name, value in (("l", 1), ("r", 2)):
        np.save(tmp_path / f"{name}.npy", np.full((1, 2), value, np.float32))
    found = read_inputs([f"a={tmp_path}/l.npy", f"b={tmp_path}/r.npy"], TWO)
    assert found["a"].tolist() == [[1, 1]] and found["b"].tolist() == [[2, 2]]


def test_named_arrays_of_one_archive(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, left=np.full((1, 2), 1, np.float32), b=np.full((1, 2), 2, np.float32))
    found = read_inputs([f"a={path}:left", f"b={path}"], TWO)
    assert found["a"].tolist() == [[1, 1]] and found["b"].tolist() == [[2, 2]]
    assert read_inputs([f"{path}:b"], TWO[:1])["a"].tolist() == [[2, 2]]
    with pytest.raises(InputError, match="has no array 'right'; it has left, b"):
        read_inputs([f"a={path}:right"], TWO)


def test_the_one_array_of_an_archive_that_fits(tmp_path):
    """Whatever it is called, if there is one input."""
    np.savez(tmp_path / "x.npz", mfcc=np.ones((5, 2), np.float32), label=np.arange(5))
    assert read_inputs([str(tmp_path / "x.npz")], TWO[:1])["a"].shape == (5, 2)


def test_onnx_tensors_and_doubles(tmp_path):
    said = []
    value = np.array([[0.5, 1 / 3]])
    onnx.save_tensor(onnx.numpy_helper.from_array(value), str(tmp_path / "input_0.pb"))
    found = read_inputs([str(tmp_path / "input_0.pb")], TWO[:1], say=said.append)["a"]
    assert found.dtype == np.float32 and (found == value.astype(np.float32)).all()
    assert said == ["input 'a': float64 is converted to float32"]


def test_what_is_not_finite_is_told():
    told, = unusual({"x": np.array([1.0, np.nan, np.inf, -np.inf]), "y": np.arange(3)})
    assert told.startswith("input 'x' has 1 NaN and 2 infinite of 4 elements")
    assert unusual({"x": np.zeros(3, np.float32)}) == []


def test_archive_with_other_things_in_it(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.zeros(3), labels=np.ones(3))
    assert list(read_inputs([str(tmp_path / "x.npz")], [GRAY])) == ["x"]


@pytest.mark.parametrize("name,data,ports,words", [
    ("x.npy", b"nonsense", [GRAY], "not a numpy file"),
    ("x.npz", b"nonsense", [GRAY], "not a numpy archive"),
    ("x.npz", b"PK\3\4nonsense", [GRAY], "not a numpy archive"),
    ("x.npy", b"", [GRAY], "not a numpy file"),
    ("x.png", b"nonsense", [GRAY], "not a picture"),
    ("x.png", b"", TWO[:1], "takes no picture, .* give a .npy"),
    ("x.pb", b"nonsense", TWO[:1], "not an ONNX tensor"),
    ("x.png", b"\x89PNG\r\n\x1a\n" + bytes(40), [GRAY], "not a picture"),
    ("x.npy", b"", TWO, "the network has the inputs a, b; say which one with NAME="),
    ("x.txt", b"", [GRAY], "no input of the kind '.txt'"),
])
def test_wrong_files(tmp_path, name, data, ports, words):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=words):
        read_inputs([str(tmp_path / name)], ports)


def test_archive_without_the_input(tmp_path):
    np.savez(tmp_path / "x.npz", y=np.zeros(3))
    with pytest.raises(InputError, match=r"holds y \(float64 \[3\]\), but the network's inputs"):
        read_inputs([str(tmp_path / "x.npz")], [GRAY])


def test_a_picture_that_is_too_large(monkeypatch, picture):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    with pytest.raises(InputError, match="not a picture .Image size .96 pixels. exceeds limit of"):
        read_inputs([picture("a.png", (0, 0, 0))], [GRAY])
