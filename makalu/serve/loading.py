# SPDX-License-Identifier: Apache-2.0
"""From a model in the repository to programs: each batch compiled by ``makalu compile`` in a
process of its own, which may take its time and memory, or fail, without the server.

What was compiled is kept in the cache under the hash of all that went into it, so that a server
that starts again does not compile again.
"""

import asyncio
import functools
import hashlib
import inspect
import json
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from compiler import compile as compiler
from isa import program as isa
from isa.presets import load_config
from isa.program import Program, ProgramError
from makalu import facts
from makalu.facts import Cost
from makalu.serve.lane import Held
from makalu.serve.repository import FILES, Source
from makalu.serve.requests import Failure, ServeError
from sim.cache import digest, in_cache, kept


@dataclass(frozen=True)
class Made:
    """A program and what it costs."""

    held: Held
    cost: Cost


async def programs(source: Source, config: str) -> list[Made]:
    """A model's version for a machine, a program for each batch.

    Raises
    ------
    ServeError
        BAD with the compiler's sentence, if it does not compile.
    """
    if source.model.suffix == ".mkl":
        return [_made(source, path.read_bytes()) for path in sorted(
            source.model.parent.glob("*.mkl"))]
    key = await asyncio.to_thread(_key, source, config)
    return [_made(source, await _program(source, config, batch, f"{key}-{batch}.mkl"))
            for batch in source.settings.batches]


def _made(source: Source, data: bytes) -> Made:
    try:
        program = Program.from_bytes(data, str(source.model))
    except ProgramError as e:
        raise ServeError(Failure.BAD, str(e)) from None
    return Made(Held(hashlib.sha256(data).hexdigest()[:16], data), facts.cost(program))


async def _program(source: Source, config: str, batch: int, name: str) -> bytes:
    """The file of a program, from the cache or made for it."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / f"{source.name}.mkl"
        if not in_cache("programs", name):
            await _compile(source, config, batch, out)

        def copy(made: Path) -> None:
            shutil.copy(out, made)

        return kept("programs", name, copy)[0].read_bytes()


async def _compile(source: Source, config: str, batch: int, out: Path) -> None:
    options = [part for name, value in source.settings.options.items()
               for part in (f"--{name}", value)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "makalu", "compile", str(source.model.resolve()), "-o", str(out),
        "--config", config, "--batch", str(batch), *options,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE)
    try:
        _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        last = (said.decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
        raise ServeError(Failure.BAD, f"model {source.name!r} version {source.version} does not "
                         f"compile for {config}: {last.removeprefix('makalu: ')}")


def _key(source: Source, config: str) -> str:
    """The hash of a version's files, its options, the machine, and the compiler."""
    options = source.settings.options
    folder = source.model if source.model.is_dir() else source.model.parent
    files = [*sorted(p for p in folder.rglob("*") if p.is_file()),
             *(Path(options[name]) for name in FILES if name in options)]
    return digest(_compiler(), json.dumps([asdict(load_config(config)), options, source.name]),
                  *(part for p in files for part in (p.name, p.read_bytes())))


@functools.cache
def _compiler() -> str:
    """The hash of what compiles."""
    folders = [Path(inspect.getfile(module)).parent for module in (compiler, isa)]
    return digest(*(version(package) for package in ("onnx", "onnxruntime", "numpy")),
                  *(p.read_bytes() for folder in folders for p in sorted(folder.rglob("*.py"))))
