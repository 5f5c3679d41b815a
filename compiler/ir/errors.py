# SPDX-License-Identifier: Apache-2.0
"""The one exception that a user of the compiler sees, and the one that becomes it."""

from isa.errors import UserError


class CompileError(UserError):
    """A model that cannot be compiled: the message names the node, the reason and the cure."""

    def __init__(self, where: str, reason: str, cure: str):
        super().__init__(f"{where}: {reason}; {cure}")
        self.where, self.reason, self.cure = where, reason, cure


class Unsupported(Exception):
    """The machine does not run a node; says why and what to do about it."""

    def __init__(self, reason: str, cure: str = ""):
        super().__init__(reason)
        self.reason, self.cure = reason, cure
