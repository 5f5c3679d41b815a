# SPDX-License-Identifier: Apache-2.0
"""The machine's way to fail."""

from isa.instructions import FAULT_TEXT, Fault


class MachineFault(Exception):
    """The machine stopped: ``code`` says why, ``index`` is the instruction's position."""

    def __init__(self, code: Fault, index: int):
        super().__init__(f"instruction {index}: {FAULT_TEXT[code]}")
        self.code = code
        self.index = index
