# SPDX-License-Identifier: Apache-2.0
"""The scripts that train the shipped transformers run, and what they export is the machine's: a few
steps, which is enough for logits that differ."""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import makalu
from examples.digits import held_out
from makalu.measure.decoding import compare
from makalu.tokens import Bytes
from runtime.generator import Generator

pytest.importorskip("torch")

CONFIG, STEPS, TOKENS = "tiny_fp", 12, 8


@pytest.mark.filterwarnings("ignore")   # of the exporter
def test_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from examples.transformers import train_gpt

    path = tmp_path / "text.onnx"
    monkeypatch.setattr(train_gpt, "TEXT", path)
    monkeypatch.setattr(sys, "argv", ["train_gpt", str(STEPS)])
    train_gpt.main()
    program = makalu.decoder(path, CONFIG, context=16, prefill=8, host=("all",))
    ids = Bytes().encode("If the ")
    with makalu.open_device("golden", program.config) as device:
        generator, tokens, logits = Generator(program, device), list[int](), list[np.ndarray]()
        for token in generator.tokens(ids, TOKENS):
            tokens.append(token)
            logits.append(generator.logits)
    agreement = compare(path, ids, logits, tokens)
    assert agreement.same == agreement.tokens == TOKENS and agreement.sqnr_db > 45
    assert np.ptp(logits[0]) > 0.1, "it has learned that some bytes are more frequent"


@pytest.mark.filterwarnings("ignore")
def test_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from examples.transformers import train_vit

    path = tmp_path / "pictures.onnx"
    monkeypatch.setattr(train_vit, "PICTURES", path)
    monkeypatch.setattr(train_vit, "EPOCHS", 12)
    train_vit.main()
    images, labels = held_out()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    want = session.run(None, {"image": images})[0]
    assert (want.argmax(axis=1) == labels).mean() > 0.3, "a tenth would be chance"
    program = makalu.compile(path, CONFIG, precision="fp16")
    want, got = want[:8], makalu.run(program, {"image": images[:8]})["logits"]
    assert np.array_equal(got.argmax(axis=1), want.argmax(axis=1))
    assert np.abs(got - want).max() < 0.02 * np.abs(want).max()
