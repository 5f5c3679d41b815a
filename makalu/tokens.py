# SPDX-License-Identifier: Apache-2.0
"""Text as the tokens of a model, and back: its bytes, or a tokenizer in Hugging Face's format."""

import codecs
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from isa.errors import UserError

FILE = "tokenizer.json"
"""What a tokenizer beside a model is called."""


class TokenizerError(UserError, ValueError):
    """A file that is no tokenizer, or nothing that reads it."""


class Tokenizer(Protocol):
    """Text to tokens and back."""

    def encode(self, text: str) -> list[int]:
        """The tokens of a text."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens; a character that is not complete at the end is left out."""


class Bytes:
    """Each byte of UTF-8 is a token."""

    def encode(self, text: str) -> list[int]:
        """See :class:`Tokenizer`."""
        return list(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        """See :class:`Tokenizer`; bytes that are no UTF-8 are replaced, as Unicode says."""
        return codecs.getincrementaldecoder("utf-8")("replace").decode(
            bytes(i & 0xFF for i in ids))


class FromFile:
    """What the package ``tokenizers`` makes of a file.

    Raises
    ------
    TokenizerError
        If there is no such file, it is no tokenizer, or the package is missing.
    """

    def __init__(self, path: Path):
        try:
            from tokenizers import Tokenizer as Reader
        except ImportError:
            raise TokenizerError(f"{path}: reading it needs the package tokenizers: pip install "
                                 "'makalu[text]'") from None
        try:
            self._inner: Any = Reader.from_file(str(path))
        except Exception as e:  # it raises nothing more special
            raise TokenizerError(f"{path}: no tokenizer ({e})") from None

    def encode(self, text: str) -> list[int]:
        """See :class:`Tokenizer`."""
        return list(self._inner.encode(text).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """See :class:`Tokenizer`."""
        return str(self._inner.decode(list(ids))).removesuffix("\N{REPLACEMENT CHARACTER}")


def tokenizer(given: str | None, model: str) -> Tokenizer:
    """The tokenizer of a file; unless one is given, that beside the model, or else its bytes."""
    beside = Path(model).parent / FILE
    if given is not None:
        return FromFile(Path(given))
    return FromFile(beside) if beside.is_file() else Bytes()
