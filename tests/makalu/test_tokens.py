# SPDX-License-Identifier: Apache-2.0
"""Text to tokens and back."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from makalu.tokens import Bytes, FromFile, TokenizerError, tokenizer


def test_bytes() -> None:
    assert Bytes().encode("aé\n") == [97, 0xC3, 0xA9, 10]
    assert Bytes().decode([97, 0xC3, 0xA9, 10]) == "aé\n"


def test_half_a_character_waits_for_its_other_half() -> None:
    assert Bytes().decode([97, 0xC3]) == "a"
    assert Bytes().decode([97, 0xA9, 98]) == "a\N{REPLACEMENT CHARACTER}b"


class Words:
    """What the package would make of a file: a token is a word."""

    def __init__(self, path: str):
        if Path(path).read_text() != "words":
            raise Exception("it is none")
        self.words = ["the", "class", "\N{REPLACEMENT CHARACTER}"]

    from_file = classmethod(lambda cls, path: cls(path))

    def encode(self, text: str) -> SimpleNamespace:
        return SimpleNamespace(ids=[self.words.index(w) for w in text.split()])

    def decode(self, ids: list[int]) -> str:
        return " ".join(self.words[i] for i in ids)


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", SimpleNamespace(Tokenizer=Words))


def test_a_file_beside_the_model(tmp_path: Path, package: None) -> None:
    model = tmp_path / "model.onnx"
    assert isinstance(tokenizer(None, str(model)), Bytes)
    (tmp_path / "tokenizer.json").write_text("words")
    found = tokenizer(None, str(model))
    assert found.encode("class the") == [1, 0] and found.decode([0, 1, 2]) == "the class "


def test_refused(tmp_path: Path, package: None, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other.json").write_text("no words")
    with pytest.raises(TokenizerError, match="no tokenizer"):
        tokenizer(str(tmp_path / "other.json"), "model.onnx")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(TokenizerError, match=r"makalu\[text\]"):
        FromFile(tmp_path / "other.json")
