# SPDX-License-Identifier: Apache-2.0
"""What ``make run`` does, on the smallest machine and a few images."""

from pathlib import Path

from PIL import Image

from examples import run_digits


def test_runs_compares_and_draws(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(run_digits, "CONFIG", "tiny")
    monkeypatch.setattr(run_digits, "ON_RTL", 4)
    monkeypatch.setattr(run_digits, "PICTURE", Path(tmp_path / "digits.png"))
    assert run_digits.main() == 0
    text = capsys.readouterr().out
    assert "simulated hardware against the golden model: all bits are the same" in text
    assert "top-1 is the same in 360 of 360" in text
    assert "cycles an image" in text and "simulated cycles a second" in text
    with Image.open(tmp_path / "digits.png") as picture:
        assert picture.size[0] > 500 and len(picture.convert("RGB").getcolors(1 << 24)) > 100
