# SPDX-License-Identifier: Apache-2.0
"""Who may ask for what: tokens, the models that a tenant sees, and its quota.

A file names them::

    {"tenants": [{"name": "vision", "token_sha256": "5e88…", "models": ["resnet*"],
                  "shares": 4, "leases": 8, "cores": 2, "memory_bytes": 1000000000,
                  "admin": false}]}

Tokens themselves are not in the file; ``makalu token`` makes one with its digest. Without a file
everybody is the tenant ``default``, who sees all and may all.
"""

import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from makalu.serve.requests import Failure, ServeError


@dataclass(frozen=True)
class Tenant:
    """Somebody with a token.

    Parameters
    ----------
    name : str
    token_sha256 : str
        Digest of the token (hexadecimal); "" takes part in no comparison.
    models : tuple of str
        Patterns of the models' names that it sees.
    shares : float
        Of all its leases together, at most.
    leases : int
        At most.
    cores : int, optional
        That its leases have for themselves together, at most; None is no limit.
    memory_bytes : int, optional
        Of the programs that its leases hold on the device; None is no limit.
    admin : bool
        Whether it sees and changes other tenants' leases, and loads and unloads models.
    """

    name: str
    token_sha256: str = ""
    models: tuple[str, ...] = ("*",)
    shares: float = 1.0
    leases: int = 1
    cores: int | None = None
    memory_bytes: int | None = None
    admin: bool = False

    def sees(self, model: str) -> bool:
        """Whether the model exists for this tenant."""
        return any(fnmatchcase(model, pattern) for pattern in self.models)


EVERYBODY = Tenant("default", shares=1e6, leases=1000, admin=True)


class Tenants:
    """All of them.

    Parameters
    ----------
    known : tuple of Tenant
        Empty: everybody is :data:`EVERYBODY`.
    """

    def __init__(self, known: tuple[Tenant, ...] = ()):
        self.known = known
        self._open = not known

    @property
    def all(self) -> tuple[Tenant, ...]:
        """Those with a token, or everybody."""
        return self.known or (EVERYBODY,)

    def of(self, token: str | None) -> Tenant:
        """The owner of a token; every known digest is compared, so that the time tells nothing.

        Raises
        ------
        ServeError
            If there is none.
        """
        if self._open:
            return EVERYBODY
        if not token:
            raise ServeError(Failure.NO_TOKEN, "this server wants a token: send the header "
                             "'Authorization: Bearer TOKEN'")
        digest = hashlib.sha256(token.encode()).hexdigest()
        found = [t for t in self.known if hmac.compare_digest(t.token_sha256, digest)]
        if not found:
            raise ServeError(Failure.NO_TOKEN, "nobody has this token: ask who runs the server for "
                             "another")
        return found[0]


def new_token() -> tuple[str, str]:
    """A fresh token and its digest."""
    token = secrets.token_urlsafe(24)
    return token, hashlib.sha256(token.encode()).hexdigest()


def load(path: Path) -> Tenants:
    """Tenants of a file.

    Raises
    ------
    ServeError
        If it is not as described above.
    """
    try:
        entries = json.loads(path.read_text())["tenants"]
        known = tuple(_tenant(e) for e in entries)
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise ServeError(Failure.BAD, f"{path}: not a file of tenants ({e}); see makalu serve "
                         "--help") from None
    names = [t.name for t in known]
    digests = [t.token_sha256 for t in known]
    if not known or len(set(names)) < len(known) or len(set(digests)) < len(known):
        raise ServeError(Failure.BAD, f"{path}: every tenant needs a name and a token of its own")
    return Tenants(known)


def _tenant(entry: dict[str, Any]) -> Tenant:
    unknown = entry.keys() - {f.name for f in fields(Tenant)}
    if unknown:
        raise ValueError(f"a tenant has no {', '.join(sorted(unknown))}")
    if len(entry["token_sha256"]) != 64 or not entry["name"]:
        raise ValueError(f"tenant {entry['name']!r} has no digest of 64 hexadecimal digits")
    return Tenant(**{**entry, "models": tuple(entry.get("models", ("*",)))})
