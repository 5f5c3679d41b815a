# SPDX-License-Identifier: Apache-2.0
"""The benchmarks of serving in small: every measurement is taken, and every answer is right. How
long it takes is not asserted."""

import re

import numpy as np
import pytest

from examples.serving import __main__ as command
from examples.serving import measure
from examples.serving.clients import Client, Model, WrongAnswer, sequence, times


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(command.TRITON, raising=False)


@pytest.fixture
def few(monkeypatch):
    """Short of everything."""
    monkeypatch.setattr(measure, "BATCHES", (1, 4))


def test_the_page(few, tmp_path):
    command.main(["--quick"])
    text = (tmp_path / "build" / "bench" / "serving_benchmarks.md").read_text()
    for words in ("| http | Makalu |", "| grpc | Makalu |", "Triton is left out", "| 4 | ",
                  "| golden `tiny` | 1 |", "| rtl `tiny` | 1 |"):
        assert words in text
    assert not re.search(r"\bnan\b|{", text)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_wrong_answer_ends_the_run(protocol):
    """And a right one has the device's time, as the server says it."""
    right = measure.digits()
    wrong = Model(right.name, right.input, right.value, right.output, right.answer + 1)
    with measure.served() as server:
        client = Client(server, protocol, right)
        found = sequence(client, 3)
        client.close()
        assert (0 < found.device).all() and (found.device < found.whole).all()
        assert np.allclose(found.own, found.whole - found.device)
        client = Client(server, protocol, wrong)
        with pytest.raises(WrongAnswer):
            client.ask()
        client.close()


def test_times_of_nothing():
    assert times([]).whole.size == 0
