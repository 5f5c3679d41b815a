# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime as the witness of generated text: the same file in FP32 with a cache that grows.

It takes no part of what the compiler makes of the model: its lengths are those of the text, and
what it keeps are its own outputs.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from compiler.source.cache import AXIS, caches
from compiler.source.lengths import feeds
from makalu.measure.witness import open_session


class Witness:
    """A decoder in ONNX Runtime.

    Parameters
    ----------
    path : str or Path
        The model, with a key-value cache.
    """

    def __init__(self, path: str | Path):
        self._caches = caches(onnx.load(path, load_external_data=False), Path(path).stem)
        self._session = open_session(path)
        shapes = {i.name: i.shape for i in self._session.get_inputs()}
        presents = {c.present for c in self._caches}
        self._outputs = [o.name for o in self._session.get_outputs() if o.name not in presents]
        self._past: dict[str, np.ndarray] = {}
        self.length = 0
        for c in self._caches:
            shape = [d if isinstance(d, int) else 1 for d in shapes[c.past]]
            shape[AXIS] = 0
            self._past[c.past] = np.zeros(shape, np.float32)

    def take(self, ids: Sequence[int]) -> np.ndarray:
        """Logits [vocabulary] of the token behind these."""
        total = self.length + len(ids)
        values = feeds(self._session.get_inputs(), self._caches, ids, self.length, np.ones(total),
                       self._past)
        names = [self._outputs[0], *(c.present for c in self._caches)]
        logits, *presents = self._session.run(names, values)
        self._past = {c.past: p for c, p in zip(self._caches, presents)}
        self.length = total
        return np.asarray(logits[0, -1])


@dataclass(frozen=True)
class Agreement:
    """How generated tokens compare.

    Parameters
    ----------
    tokens, same : int
        Tokens, and those that ONNX Runtime's logits make the likeliest as well, given the ones
        before.
    sqnr_db : float
        Of all logits.
    first : int or None
        The first token that is another one, and by how much ONNX Runtime's likeliest is above it.
    margin : float or None
    """

    tokens: int
    same: int
    sqnr_db: float
    first: int | None = None
    margin: float | None = None

    def __str__(self) -> str:
        if self.first is None:
            return (f"all {self.tokens} tokens are the likeliest in FP32 as well, logits "
                    f"{self.sqnr_db:.1f} dB")
        return (f"{self.same} of {self.tokens} tokens are the likeliest in FP32 as well, the first "
                f"other one is {self.first + 1}, whose logit is {self.margin:.3g} below the "
                f"largest; logits {self.sqnr_db:.1f} dB")

    def json(self) -> dict[str, Any]:
        return asdict(self)


def compare(path: str | Path, prompt: Sequence[int], logits: Sequence[np.ndarray],
            tokens: Sequence[int]) -> Agreement:
    """The likeliest tokens by ``logits``, behind a prompt and ``tokens``, against those by ONNX
    Runtime's."""
    witness = Witness(path)
    wanted = [witness.take(prompt), *(witness.take([t]) for t in tokens[:-1])]
    ours, theirs = np.array(logits, np.float64), np.array(wanted, np.float64)
    choices = ours.argmax(axis=1)
    wrong = np.flatnonzero(choices != theirs.argmax(axis=1))
    noise = max(float(((ours - theirs) ** 2).sum()), 1e-300)
    sqnr = float(10 * np.log10((theirs ** 2).sum() / noise))
    if not wrong.size:
        return Agreement(len(choices), len(choices), sqnr)
    first = int(wrong[0])
    return Agreement(len(choices), len(choices) - wrong.size, sqnr, first,
                     float(theirs[first].max() - theirs[first, choices[first]]))
