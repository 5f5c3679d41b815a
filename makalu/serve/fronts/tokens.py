# SPDX-License-Identifier: Apache-2.0
"""Tokens as requests carry them."""


def token(authorization: str | None) -> str | None:
    """The token of an ``Authorization: Bearer TOKEN``; None if it is anything else."""
    kind, _, rest = (authorization or "").partition(" ")
    return rest.strip() or None if kind.lower() == "bearer" else None
