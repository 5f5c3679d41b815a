# SPDX-License-Identifier: Apache-2.0
"""The machine's way to fail."""

from isa.instructions import FAULT_TEXT, Fault


class MachineFault(Exception):
    """The machine stopped: ``code`` says why, ``index`` is the instruction's position, in a gang in
    the stream of ``rank``."""

    def __init__(self, code: Fault, index: int, rank: int = 0):
        super().__init__(f"instruction {index}: {FAULT_TEXT[code]}")
        self.code = code
        self.index = index
        self.rank = rank
