# SPDX-License-Identifier: Apache-2.0
"""From a model in the repository to programs: each batch compiled by ``makalu compile`` in a
process of its own, which may take its time and memory, or fail, without the server."""

import asyncio
import hashlib
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from isa.instructions import Region
from isa.program import Program, ProgramError
from makalu.serve.core import Held
from makalu.serve.repository import Source
from makalu.serve.requests import Failure, ServeError
from runtime.device import region_bytes


@dataclass(frozen=True)
class Made:
    """A program with its predicted cycles, and the bytes of its regions on the device."""

    held: Held
    cycles: int
    bytes: int


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
    return [_made(source, await _compile(source, config, batch))
            for batch in source.settings.batches]


def _made(source: Source, data: bytes) -> Made:
    try:
        program = Program.from_bytes(data, str(source.model))
    except ProgramError as e:
        raise ServeError(Failure.BAD, str(e)) from None
    return Made(Held(hashlib.sha256(data).hexdigest()[:16], data),
                sum(program.predicted_cycles) or program.roofline_cycles or 1,
                sum(region_bytes(program, region) for region in Region))


async def _compile(source: Source, config: str, batch: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / f"{source.name}.mkl"
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
            raise ServeError(Failure.BAD, f"model {source.name!r} version {source.version} does "
                             f"not compile for {config}: {last.removeprefix('makalu: ')}")
        return out.read_bytes()
