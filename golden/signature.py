# SPDX-License-Identifier: Apache-2.0
"""What each instruction wrote, as a signature: the golden model with an observer at its memories.

The memories are arrays that report assignments to them; the model itself knows nothing of this.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from golden.machine import Machine
from isa.config import Config
from isa.instructions import Instruction, Opcode, Region
from isa.signature import ADDRESS, CHUNK, FOLD, VALUE


def signature(words: np.ndarray, data: np.ndarray, base: int = 0) -> int:
    """The signature of writes (:mod:`isa.signature`).

    Parameters
    ----------
    words : int array
        Where each word went, in words.
    data : uint8 array [..., word bytes]
        What went there.
    base : int
        Byte address of word 0.
    """
    chunks = np.ascontiguousarray(data).view("<u4").astype(np.uint32)
    per = chunks.shape[-1]
    at = (base // CHUNK + words[..., None].astype(np.uint64) * np.uint64(per)
          + np.arange(per, dtype=np.uint64)).astype(np.uint32)
    x = (chunks ^ ((at + np.uint32(1)) * np.uint32(ADDRESS))) * np.uint32(VALUE)
    return int((x ^ (x >> np.uint32(FOLD))).sum(dtype=np.uint64) & np.uint64(0xFFFFFFFF))


class Watched(np.ndarray):
    """Memory as lines of words that reports what is assigned to it, whole words at a time.

    ``report`` gets the words' positions and their bytes. Views that begin where the memory does
    report as well; results of computations do not.
    """

    report: Callable[[np.ndarray, np.ndarray], None] | None = None

    def __array_finalize__(self, obj: Any) -> None:
        if isinstance(obj, Watched) and self.ctypes.data == obj.ctypes.data:
            self.report = obj.report

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        if self.report is not None:
            at = np.arange(len(self))[key]
            self.report(at, np.broadcast_to(np.asarray(value), (*at.shape, self.shape[-1])))


def watched(memory: np.ndarray, report: Callable[[np.ndarray, np.ndarray], None]) -> np.ndarray:
    """``memory`` with an observer."""
    result = memory.view(Watched)
    result.report = report
    return result


class SigningMachine(Machine):
    """A machine that keeps the signature of every instruction.

    Parameters
    ----------
    config : Config
    bases : mapping of Region to int
        Where the regions lie in memory, which a STORE's signature depends on.

    Attributes
    ----------
    signatures : list[int]
        Of the last run's instructions, END excepted.
    """

    def __init__(self, config: Config, bases: Mapping[Region, int]):
        super().__init__(config)
        self._bases = bases
        self.signatures: list[int] = []
        self.spm = watched(self.spm, self._wrote)

    def _regions(self, image: bytes, inputs: np.ndarray, kept: dict[Region, np.ndarray]
                 ) -> dict[Region, np.ndarray]:
        self.signatures.clear()
        return {region: watched(memory, self._wrote)
                for region, memory in super()._regions(image, inputs, kept).items()}

    def execute(self, i: Instruction, index: int, regions: dict[Region, np.ndarray]) -> None:
        """See :meth:`golden.machine.Machine.execute`."""
        self._base = self._bases[Region(i.region)] if i.opcode is Opcode.STORE else 0
        self.signatures.append(0)
        super().execute(i, index, regions)

    def _wrote(self, at: np.ndarray, data: np.ndarray) -> None:
        more = signature(at, data, self._base)
        self.signatures[-1] = (self.signatures[-1] + more) & 0xFFFFFFFF
