# SPDX-License-Identifier: Apache-2.0
"""The shipped transformers are what they claim: small, standard, trained, and the machine's."""

from pydoc_data.topics import topics

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import makalu
from examples.digits import held_out
from examples.transformers import PICTURES, TEXT
from examples.transformers.run_generate import shown, theirs
from makalu.measure.decoding import Witness
from makalu.tokens import Bytes
from runtime.generator import Generator

import onnxruntime


@pytest.mark.parametrize("path", [TEXT, PICTURES])
def test_files(path) -> None:
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [o.domain for o in model.opset_import] == [""]
    assert path.stat().st_size < 1 << 20
    large = [t for t in model.graph.initializer if np.prod(t.dims) > 1000]
    assert large and all(numpy_helper.to_array(t).dtype == np.float16 for t in large)


def test_digits() -> None:
    images, labels = held_out()
    session = onnxruntime.InferenceSession(str(PICTURES), providers=["CPUExecutionProvider"])
    assert (session.run(None, {"image": images})[0].argmax(axis=1) == labels).mean() >= 0.96
    program = makalu.compile(PICTURES, "core256_fp", precision="fp16")
    got = makalu.run(program, {"image": images[:8]})["logits"]
    want = session.run(None, {"image": images[:8]})[0]
    assert np.abs(got - want).max() < 0.02 * np.abs(want).max()


def test_text_is_learned() -> None:
    text = topics["while"][:200]
    ids, witness = Bytes().encode(text), Witness(TEXT)
    surprise = []
    for token, following in zip(ids, ids[1:]):
        logits = witness.take([token]).astype(np.float64)
        surprise.append(np.log(np.exp(logits - logits.max()).sum()) + logits.max()
                        - logits[following])
    assert np.mean(surprise) < 1.5, "nats a byte; chance is 4.9"


def test_its_text_on_the_golden_model() -> None:
    ids = Bytes().encode("If the ")
    program = makalu.decoder(TEXT, context=48, host=("all",))
    with makalu.open_device("golden", program.config) as device:
        mine = list(Generator(program, device).tokens(ids, 24))
    assert mine == theirs(ids, 24)
    assert "\n" not in shown("a\nb")
