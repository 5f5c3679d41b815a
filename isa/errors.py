# SPDX-License-Identifier: Apache-2.0
"""The base of every exception that is the user's to solve."""


class UserError(Exception):
    """What a user can cause, and is told in a sentence without a traceback. Each package derives
    its own."""
