# SPDX-License-Identifier: Apache-2.0
"""The one exception that a user of the compiler sees."""


class CompileError(Exception):
    """A model that cannot be compiled: the message names the node, the reason and the cure."""

    def __init__(self, where: str, reason: str, cure: str):
        super().__init__(f"{where}: {reason}; {cure}")
        self.where, self.reason, self.cure = where, reason, cure
