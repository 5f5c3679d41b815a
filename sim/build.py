# SPDX-License-Identifier: Apache-2.0
"""From a configuration to Verilog to a shared library, each made once and kept.

The cache is ``build/cache`` in a checkout, the user's cache folder otherwise, or ``MAKALU_CACHE``.
A library's key is the hash of everything that goes into it: Verilog, harness, flags, Verilator.
The Verilog's key is the hash of the sources that generate it. Verilator's own library, which is the
same for every design, is kept by its flags. Each is built in a folder of its own under a lock and
renamed into place, so that processes which want the same one build it once.
"""

import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from isa.config import Config
from sim import registers
from sim.verilator import SPEED_FLAGS, ToolError, Verilator, find, waivers

ROOT = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Kind:
    """What is simulated: the module name of the top, and the C++ around it, of which the first file
    is compiled. Its Verilog is ``rewritten`` for speed, which changes no value of a register."""

    top: str
    sources: tuple[Path, ...]
    rewritten: bool = True


MACHINE = Kind("makalu", (ROOT / "harness.cpp", ROOT / "dram.h", ROOT / "trace.h"))

OPTIMIZE = "-O2"
SETUP = "-O0"
"""C++ optimization of what runs each cycle, and of what runs once. Measured on core256, CPU seconds
of the C++ build and simulated cycles a second: -O2 41 s and 247 k, -O1 36 s and 213 k, -O3 48 s and
237 k, -O2 -march=native 45 s and 252 k; with the setup at -O1 instead of -O0 the build takes 91 s.
"""

JOBS = 2
WAVES = ("vcd", "fst")
"""Wave formats; FST is smaller, and needs the lz4 headers to build."""

SPLIT = 5000
"""Verilator's size of a C++ file; smaller files compile in parallel and in less memory."""


ZEROS = re.compile(r"^  initial begin\n(?:    \S+ ?\[\d+\] = \d+'h0+;\n)+  end\n", re.MULTILINE)
"""A memory that is cleared, one statement a row. With Verilator's ``--x-initial fast`` memories are
zero anyway, and on core256 these rows are two thirds of the C++ (18.3 MB, 6.2 without them)."""


@dataclass(frozen=True)
class Library:
    """A simulation that can be loaded.

    Parameters
    ----------
    path : Path
        The shared library.
    build_seconds : float
        How long it took to build, when it was built.
    verilog_lines : int
        Lines of the Verilog in it.
    """

    path: Path
    build_seconds: float
    verilog_lines: int


def cache_folder() -> Path:
    """Where built things are kept."""
    if "MAKALU_CACHE" in os.environ:
        return Path(os.environ["MAKALU_CACHE"])
    checkout = ROOT.parent
    if (checkout / "pyproject.toml").is_file():
        return checkout / "build" / "cache"
    return Path(platformdirs.user_cache_dir("makalu"))


def say(text: str) -> None:
    """A line on standard error about work that takes a while."""
    print(f"makalu: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def locked(folder: Path, name: str) -> Iterator[None]:
    """One process or thread at a time makes ``name`` of a folder in the cache."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{name}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another process is making the same, waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def digest(*parts: str | bytes) -> str:
    """A key of the cache."""
    h = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        h.update(len(data).to_bytes(8, "little") + data)
    return h.hexdigest()[:24]


def rtl(config: Config, trace: bool = False, gated: bool = False) -> str:
    """The Verilog of a machine, from the cache if its generator has not changed; ``trace``: with
    the ports that the harness records (:mod:`hw.trace`); ``gated``: with gated clocks.

    Raises
    ------
    OSError
        If the cache folder cannot be written.
    """
    def text() -> str:
        from hw.top import verilog
        return verilog(config, trace, gated)

    return verilog_text(config, f"{trace} {gated}", text)


def verilog_text(config: Config, variant: str, make: Callable[[], str]) -> str:
    """What ``make`` gives, from the cache if neither ``variant`` nor the generator has changed."""
    sources = [p.read_bytes() for name in ("hw", "isa")
               for p in sorted((ROOT.parent / name).rglob("*.py"))]
    key = digest(f"{config.hash:016x} {variant}", importlib.metadata.version("amaranth"), *sources)
    folder = cache_folder() / "verilog"
    path = folder / f"{key}.v"
    if path.is_file():
        return path.read_text()
    with locked(folder, key):
        if not path.is_file():
            say(f"generating the Verilog of {config.name}")
            start = time.monotonic()
            text = make()
            _keep(path, text.encode())
            say(f"{len(text.splitlines())} lines of Verilog in {time.monotonic() - start:.0f} s")
    return path.read_text()


def _keep(path: Path, data: bytes) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.replace(path)


def build(verilog: str, waves: str | None = None, kind: Kind = MACHINE) -> Library:
    """The simulation of a top module as a shared library, from the cache if it is there.

    Parameters
    ----------
    verilog : str
        Source text whose top module is the kind's.
    waves : str, optional
        One of :data:`WAVES`: a build that can write this format, at half the speed or less.
    kind : Kind

    Raises
    ------
    sim.verilator.ToolError
        If a tool is missing, or a step of the build fails.
    """
    if waves not in (None, *WAVES):
        raise ValueError(f"no wave format {waves!r}: one of {', '.join(WAVES)}")
    tool = find()
    flags = _flags(waves, kind.top)
    key = digest(verilog, tool.version, " ".join(flags), OPTIMIZE, SETUP, str(kind.rewritten),
                 *(p.read_bytes() for p in (*kind.sources, Path(registers.__file__))))
    folder = cache_folder() / "sim"
    library, facts = folder / f"{key}.so", folder / f"{key}.json"
    if not library.is_file():
        with locked(folder, key):
            if not library.is_file():
                _build(tool, kind, verilog, flags, waves, library, facts)
    return Library(library, **json.loads(facts.read_text()))


def _flags(waves: str | None, top: str) -> list[str]:
    return ["--cc", "--assert", "--top-module", top, "--prefix", f"V{top}", "--Mdir", "cpp",
            *SPEED_FLAGS, *waivers(), "--output-split", str(SPLIT), "--timescale", "1ns/1ps",
            "-CFLAGS", "-fPIC -fvisibility=hidden -DVL_USER_FINISH -DVL_USER_STOP -DVL_USER_FATAL",
            *([f"--trace-{waves}"] if waves else [])]


def _build(tool: Verilator, kind: Kind, verilog: str, flags: list[str], waves: str | None,
           library: Path, facts: Path) -> None:
    lines = len(verilog.splitlines())
    say(f"building the simulation of {lines} lines of Verilog, once; this may take minutes")
    start, top = time.monotonic(), kind.top
    verilog = ZEROS.sub("", verilog)
    if kind.rewritten:
        verilog = registers.registers(verilog)
    work = Path(tempfile.mkdtemp(prefix="work-", dir=library.parent))
    try:
        (work / f"{top}.v").write_text(verilog)
        env = tool.environment()
        _step([str(tool.executable), *flags, f"{top}.v"], work, env)
        _step(["make", f"-j{JOBS}", "-C", "cpp", "-f", f"V{top}.mk", f"OPT_FAST={OPTIMIZE}",
               f"OPT_SLOW={SETUP}", f"libV{top}.a"], work, env)
        trace = {None: ["-DVM_TRACE=0"], "vcd": ["-DVM_TRACE=1"],
                 "fst": ["-DVM_TRACE=1", "-DVM_TRACE_FST=1", "-lz", "-llz4"]}[waves]
        include = tool.root / "include"
        _step(["g++", "-std=c++17", OPTIMIZE, "-Wall", "-fPIC", "-fvisibility=hidden", "-shared",
               "-o", "harness.so", str(kind.sources[0]), f"-I{ROOT}", "-Icpp", "-isystem",
               str(include), "-isystem", str(include / "vltstd"), f"cpp/libV{top}.a",
               str(_verilated(tool, top, waves, work)), "-pthread", *trace], work, env)
        seconds = time.monotonic() - start
        _keep(facts, json.dumps({"build_seconds": round(seconds, 1),
                                 "verilog_lines": lines}).encode())
        (work / "harness.so").replace(library)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    say(f"built in {seconds:.0f} s, kept as {library}")


def _verilated(tool: Verilator, top: str, waves: str | None, work: Path) -> Path:
    """Verilator's own library, made with the make file of the first design that wants it."""
    key = digest(tool.version, OPTIMIZE, *_flags(waves, ""))
    path = cache_folder() / "verilated" / f"{key}.a"
    with locked(path.parent, key):
        if not path.is_file():
            _step(["make", f"-j{JOBS}", "-C", "cpp", "-f", f"V{top}.mk",
                   f"OPT_GLOBAL={OPTIMIZE}", "libverilated.a"], work, tool.environment())
            _keep(path, (work / "cpp" / "libverilated.a").read_bytes())
    return path


def _step(command: list[str], cwd: Path, env: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=cwd, env=env, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode:
        if "lz4.h" in done.stdout:
            raise ToolError("FST waves need the lz4 headers: install liblz4-dev, or name the "
                            "wave file .vcd")
        tail = "\n".join(done.stdout.splitlines()[-20:])
        raise ToolError(f"{Path(command[0]).name} failed while building the simulation "
                        f"(exit {done.returncode}):\n{tail}")
