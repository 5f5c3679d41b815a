# SPDX-License-Identifier: Apache-2.0
"""What is made once and kept: Verilog, libraries, quantized models.

The cache is ``build/cache`` in a checkout, the user's cache folder otherwise, or ``MAKALU_CACHE``.
Libraries in it are loaded into this process, so nobody else may write to its folders, and each file
has one beside it (``NAME.json``) with its SHA-256, which is compared before it is used; a file that
differs is made again. Each is made in a folder of its own under a lock and renamed into place, so
that processes which want the same one make it once, and no link is ever followed.
"""

import contextlib
import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock
import platformdirs

from isa.errors import UserError

ROOT = Path(__file__).resolve().parent.parent

ANOTHER = "name another cache folder in the environment variable MAKALU_CACHE"


class CacheError(UserError, RuntimeError):
    """A cache folder that is not to be used; the message says why, and the cure."""


def cache_folder() -> Path:
    """Where built things are kept."""
    if "MAKALU_CACHE" in os.environ:
        return Path(os.environ["MAKALU_CACHE"])
    if (ROOT / "pyproject.toml").is_file():
        return ROOT / "build" / "cache"
    return Path(platformdirs.user_cache_dir("makalu"))


def say(text: str) -> None:
    """A line on standard error about work that takes a while."""
    print(f"makalu: {text}", file=sys.stderr, flush=True)


def digest(*parts: str | bytes) -> str:
    """A key of the cache."""
    h = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        h.update(len(data).to_bytes(8, "little") + data)
    return h.hexdigest()[:24]


def kept(kind: str, name: str, make: Callable[[Path], dict[str, Any] | None]
         ) -> tuple[Path, dict[str, Any]]:
    """A file of the cache, and the facts beside it.

    Parameters
    ----------
    kind : str
        Its folder in the cache.
    name : str
        Its name, which has the hash of everything that goes into it.
    make : function of Path
        Writes the file, into a folder that it may use as it likes, and gives the facts.

    Raises
    ------
    CacheError
        If others can write to the cache, or it cannot be made.
    """
    folder = _private(kind)
    path = folder / name
    facts = _facts(path)
    if facts is None:
        with _locked(folder / f"{path.stem}.lock"):
            facts = _facts(path)
            if facts is None:
                if os.path.lexists(path):
                    say(f"{path} is not what was kept there, making it again")
                facts = _made(path, make)
    return path, facts


def in_cache(kind: str, name: str) -> bool:
    """Whether :func:`kept` has nothing to make."""
    return _facts(_private(kind) / name) is not None


def read(path: Path) -> bytes:
    """The bytes of a file that is no link.

    Raises
    ------
    OSError
        If there is none.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        return file.read()


def _private(kind: str) -> Path:
    """A folder of the cache, made if need be, which nobody else can write to."""
    root = cache_folder()
    for folder in (root, root / kind):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = folder.stat()
        except OSError as e:
            raise CacheError(f"the cache folder {str(folder)!r} cannot be made ({e.strerror}): "
                             f"{ANOTHER}") from None
        if (status.st_uid not in (os.getuid(), 0)
                or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
            raise CacheError(f"others can write to the cache folder {str(folder)!r}, whose "
                             f"contents are run: chmod go-w it if it is yours, or {ANOTHER}")
    return root / kind


def _facts(path: Path) -> dict[str, Any] | None:
    """What is known of a file that is there and whole."""
    try:
        beside = json.loads(read(_beside(path)))
        same = hashlib.sha256(read(path)).hexdigest() == beside["sha256"]
        return dict(beside["facts"]) if same else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _made(path: Path, make: Callable[[Path], dict[str, Any] | None]) -> dict[str, Any]:
    work = Path(tempfile.mkdtemp(prefix="work-", dir=path.parent))
    try:
        made = work / path.name
        facts = make(made) or {}
        sha256 = hashlib.sha256(made.read_bytes()).hexdigest()
        _beside(made).write_text(json.dumps({"sha256": sha256, "facts": facts}))
        _beside(made).replace(_beside(path))
        made.replace(path)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return facts


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process or thread at a time."""
    lock = filelock.FileLock(path, mode=0o600)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        say("another process is making the same, waiting for it")
        lock.acquire()
    except OSError as e:
        raise CacheError(f"the lock {str(path)!r} cannot be taken ({e.strerror}): remove it, or "
                         f"{ANOTHER}") from None
    try:
        yield
    finally:
        lock.release()
