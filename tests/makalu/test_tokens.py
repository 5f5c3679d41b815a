# SPDX-License-Identifier: Apache-2.0
"""Text to tokens and back."""

import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from makalu.tokens import Bytes, FromFile, TokenizerError, tokenizer


def test_bytes() -> None:
    assert Bytes().encode("aé\n") == [97, 0xC3, 0xA9, 10]
    assert Bytes().decode([97, 0xC3, 0xA9, 10]) == "aé\n"


def test_half_a_character_waits_for_its_other_half() -> None:
    assert Bytes().decode([97, 0xC3]) == "a"
    assert Bytes().decode([97, 0xA9, 98]) == "a\N{REPLACEMENT CHARACTER}b"


SENTENCES = ["the cache of the machine holds the keys", "and the values of the tokens so far",
             "a token goes behind the others"]
VOCABULARY = 256 + 24
"""Of :func:`bpe`: every byte, and what pairs often."""


def bpe(path: Path) -> Tokenizer:
    """A tokenizer of byte pairs, trained on :data:`SENTENCES`, and its file."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(SENTENCES, trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False))
    made.save(str(path))
    return made


def test_a_file_beside_the_model(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    assert isinstance(tokenizer(None, str(model)), Bytes)
    made = bpe(tmp_path / "tokenizer.json")
    assert made.get_vocab_size() == VOCABULARY
    found, text = tokenizer(None, str(model)), "the machine, the caché"
    ids = found.encode(text)
    assert len(ids) < len(text) and found.encode("the")[0] >= 256
    assert found.decode(ids) == text and found.decode(ids[:-1]) == text[:-1]


def test_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other.json").write_text("no words")
    with pytest.raises(TokenizerError, match="no tokenizer"):
        tokenizer(str(tmp_path / "other.json"), "model.onnx")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(TokenizerError, match=r"makalu\[text\]"):
        FromFile(tmp_path / "other.json")
