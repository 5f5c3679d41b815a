# SPDX-License-Identifier: Apache-2.0
"""The base of every exception that is the user's to solve, and the page that helps."""


SUPPORTED = "docs/supported.md"
"""The page that says which networks the machine runs and what to do about the others."""


class UserError(Exception):
    """What a user can cause, and is told in a sentence without a traceback. Each package derives
    its own."""
