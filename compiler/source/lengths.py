# SPDX-License-Identifier: Apache-2.0
"""Whether a decoder computes the same with unused slots in its cache as without.

The machine's cache is as long as its place, and the attention mask says which of its slots count.
A network that takes positions or a causal mask from the length of the past, not from its inputs,
means something else with such a cache. ONNX Runtime tells: it runs the model with a short past, and
with the same past behind which there are slots that do not count.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnxruntime

from compiler.ir.errors import CompileError
from compiler.source.cache import AXIS, Cache, Lengths

SHORT = 3
"""Tokens of the past that is tried."""

CLOSE = 1e-3
"""Share of the largest result by which the two may differ."""


def feeds(inputs: Sequence[onnxruntime.NodeArg], found: Sequence[Cache], ids: Sequence[int],
          length: int, seen: np.ndarray, pasts: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inputs: ``ids`` behind ``length`` tokens, the ``pasts``, and a mask ``seen`` of their
    slots and of those of the ``ids``. A name says which input is the mask, and which the
    positions."""
    count, writes = len(ids), {c.write for c in found}
    types = {"tensor(int32)": np.int32, "tensor(float)": np.float32, "tensor(bool)": np.bool_}
    values = {c.past: np.pad(pasts[c.past], ((0, 0), (0, 0), (0, count), (0, 0))) if c.write
              else pasts[c.past] for c in found}
    for i in inputs:
        if i.name in writes:
            values[i.name] = np.array([len(seen) - count])
        elif i.name not in pasts:
            value = (seen if "mask" in i.name else np.arange(length, length + count)
                     if "position" in i.name else np.array(ids))
            values[i.name] = value[None].astype(types.get(i.type, np.int64))
    return values


def check_lengths(model: onnx.ModelProto, found: Sequence[Cache], lengths: Lengths,
                  where: str) -> None:
    """Refuse a model whose result depends on slots that do not count.

    Raises
    ------
    CompileError
        If it is one, it has no mask, or ONNX Runtime does not run it so.
    """
    if not any("mask" in i.name for i in model.graph.input):
        raise CompileError(where, "it has no attention mask, so that slots of its cache that are "
                           "not yet filled would count", "export the model with attention_mask")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options,
                                               providers=["CPUExecutionProvider"])
        results = [_run(session, found, past) for past in (SHORT, max(SHORT + 1, lengths.past))]
    except Exception as e:  # of any class
        raise CompileError(where, f"it does not run with a cache of any length ({e})",
                           "export the model with dynamic lengths of tokens and past") from None
    if np.abs(results[0] - results[1]).max() > CLOSE * np.abs(results[0]).max():
        raise CompileError(where, "its result depends on the length of its cache, not only on its "
                           "attention mask and positions", "export the model with position_ids, or "
                           "with positions that it takes from attention_mask")


def _run(session: onnxruntime.InferenceSession, found: Sequence[Cache], past: int) -> np.ndarray:
    """Its first result for one token behind :data:`SHORT` others, in a cache of ``past`` slots."""
    chance, inputs = np.random.default_rng(0), session.get_inputs()
    shapes, pasts = {i.name: i.shape for i in inputs}, dict[str, np.ndarray]()
    for c in found:
        shape = [d if isinstance(d, int) else 1 for d in shapes[c.past]]
        shape[AXIS] = SHORT
        full = np.zeros((*shape[:AXIS], past, *shape[AXIS + 1:]), np.float32)
        full[:, :, :SHORT] = chance.standard_normal(shape)
        pasts[c.past] = full
    values = feeds(inputs, found, [1], SHORT, np.r_[np.ones(SHORT), np.zeros(past - SHORT), 1],
                   pasts)
    presents = {c.present for c in found}
    name = next(o.name for o in session.get_outputs() if o.name not in presents)
    return np.asarray(session.run([name], values)[0], np.float64)
