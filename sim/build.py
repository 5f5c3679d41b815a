# SPDX-License-Identifier: Apache-2.0
"""From a configuration to Verilog to a design to a shared library, each made once and kept.

::

    sources of hw, isa ─► Verilog ─► Verilator, C++ ─► design ─┬─ link ─► library
                                     harness, Verilator's own ─┘

A key in the cache (:mod:`sim.cache`) is the hash of everything that goes in: into Verilog the
sources that generate it; into a design Verilog, flags, Verilator; into a library designs and
harness. Verilator's own library, which is the same for every design, is kept by its flags. What is
in the cache needs no tool.
"""

import importlib.metadata
import re
import shutil
import subprocess
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isa.config import Config
from sim import registers
from sim.cache import digest, in_cache, kept, read, say
from sim.compiler import Compiler, compiler
from sim.sources import sources
from sim.verilator import SPEED_FLAGS, ToolError, Verilator, find, installed, waivers

ROOT = Path(__file__).resolve().parent

LOADED = time.time()
"""When this program began to read the files of generators; those that change later are not what it
has in memory."""


@dataclass(frozen=True)
class Kind:
    """What is simulated: the module name of the top, and the C++ around it, of which the first file
    is compiled, with the macros of ``defined``. Its Verilog is ``rewritten`` for speed, which
    changes no value of a register."""

    top: str
    sources: tuple[Path, ...]
    rewritten: bool = True
    defined: tuple[str, ...] = ()


HEADERS = tuple(ROOT / name for name in (
    "axi_lite.h", "axi_port.h", "dram.h", "ends.h", "flips.h", "harness_api.h", "random.h",
    "trace.h", "tracer.h"))
"""Of the harnesses of machines and chips."""

MACHINE = Kind("makalu", (ROOT / "harness.cpp", *HEADERS))

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


def rtl(config: Config, trace: bool = False, gated: bool = False) -> str:
    """The Verilog of a machine, from the cache if its generator has not changed; ``trace``: with
    the ports that the harness records (:mod:`hw.trace`); ``gated``: with gated clocks.

    Raises
    ------
    sim.cache.CacheError
        If the cache folder is not to be used.
    sim.verilator.ToolError
        If it is to be simulated, has to be made, and a tool for that is missing.
    """
    def text() -> str:
        from hw.top import verilog
        return verilog(config, trace, gated)

    return verilog_text(config.name, f"{config.hash:016x} {trace} {gated}", "hw.top", text,
                        simulated=trace)


def verilog_text(name: str, variant: str, generator: str, make: Callable[[], str],
                 simulated: bool = True) -> str:
    """What ``make`` gives, from the cache if neither ``variant`` nor the module ``generator`` has
    changed; ``name``: what to call it, ``simulated``: what a simulation needs is looked for before
    minutes are spent.

    Raises
    ------
    ToolError
        If the generator's files have changed since this program read them.
    """
    files = sources(generator)
    key = digest(variant, importlib.metadata.version("amaranth"), *(p.read_bytes() for p in files))

    def generate(path: Path) -> None:
        for file in files:
            if LOADED < file.stat().st_mtime <= time.time():    # not of a clock that is ahead
                raise ToolError(f"{file} has changed since this program began: start it again")
        say(f"generating the Verilog of {name}")
        start = time.monotonic()
        text = make()
        path.write_text(text)
        say(f"{len(text.splitlines())} lines of Verilog in {time.monotonic() - start:.0f} s")

    if simulated and not in_cache("verilog", f"{key}.v"):
        find()
    return read(kept("verilog", f"{key}.v", generate)[0]).decode()


def build(verilog: str, waves: str | None = None, kind: Kind = MACHINE,
          beside: Mapping[str, str] | None = None) -> Library:
    """The simulation of a top module as a shared library, from the cache if it is there.

    Parameters
    ----------
    verilog : str
        Source text whose top module is the kind's.
    waves : str, optional
        One of :data:`WAVES`: a build that can write this format, at half the speed or less.
    kind : Kind
    beside : mapping of str, optional
        Verilog of further designs that the harness joins with it, by their top modules.

    Raises
    ------
    sim.verilator.ToolError
        If it is not in the cache and a tool is missing, or a step of the build fails.
    """
    if waves not in (None, *WAVES):
        raise ValueError(f"no wave format {waves!r}: one of {', '.join(WAVES)}")
    designs = [_Design(top, text, waves, kind.rewritten)
               for top, text in {kind.top: verilog, **(beside or {})}.items()]
    key = digest(*(d.key for d in designs), *kind.defined,
                 *(p.read_bytes() for p in kind.sources))
    library, facts = kept("sim", f"{key}.so", lambda path: _link(kind, designs, waves, path))
    return Library(library, **facts)


class _Design:
    """A top module, verilated and compiled.

    Parameters
    ----------
    top : str
        The top module.
    verilog : str
    waves : str, optional
        One of :data:`WAVES`.
    rewritten : bool
        As :class:`Kind` has it.
    """

    def __init__(self, top: str, verilog: str, waves: str | None, rewritten: bool):
        self.top, self.lines = top, len(verilog.splitlines())
        self._verilog, self._rewritten = ZEROS.sub("", verilog), rewritten
        self._flags = _flags(waves, top)
        self.key = digest(self._verilog, installed().version, " ".join(self._flags), OPTIMIZE,
                          SETUP, str(rewritten), Path(registers.__file__).read_bytes())

    def archive(self) -> tuple[Path, dict[str, Any]]:
        """A zip file with the header and the object code, from the cache if it is there; and how
        long it took to build."""
        return kept("design", f"{self.key}.zip", self._make)

    def _make(self, archive: Path) -> dict[str, Any]:
        say(f"building the simulation of {self.lines} lines of Verilog, once; this may take "
            "minutes")
        start, top, work = time.monotonic(), self.top, archive.parent
        text = registers.registers(self._verilog) if self._rewritten else self._verilog
        (work / f"{top}.v").write_text(text)
        tool, cxx = find(), compiler()
        env = tool.environment(cxx.command)
        _step([str(tool.executable), *self._flags, f"{top}.v"], work, env)
        _step(["make", f"-j{JOBS}", "-C", "cpp", "-f", f"V{top}.mk", f"OPT_FAST={OPTIMIZE}",
               f"OPT_SLOW={SETUP}", f"libV{top}.a"], work, env)
        with zipfile.ZipFile(archive, "w") as files:
            for name in (f"V{top}.h", f"libV{top}.a"):
                files.write(work / "cpp" / name, name)
        seconds = time.monotonic() - start
        say(f"built in {seconds:.0f} s by {cxx.name}")
        return {"build_seconds": round(seconds, 1)}


def _link(kind: Kind, designs: list[_Design], waves: str | None, library: Path) -> dict[str, Any]:
    """The harness, and what it simulates."""
    work, tool, cxx = library.parent, find(), compiler()
    seconds = 0.0
    for design in designs:
        archive, facts = design.archive()
        seconds += facts["build_seconds"]
        with zipfile.ZipFile(archive) as files:
            files.extractall(work)
    trace = {None: ["-DVM_TRACE=0"], "vcd": ["-DVM_TRACE=1"],
             "fst": ["-DVM_TRACE=1", "-DVM_TRACE_FST=1", "-lz", "-llz4"]}[waves]
    include = tool.root / "include"
    _step([*cxx.command, "-std=c++17", OPTIMIZE, "-Wall", "-fPIC", "-fvisibility=hidden", "-shared",
           "-o", library.name, *(f"-D{macro}" for macro in kind.defined),
           str(kind.sources[0]), f"-I{ROOT}", "-I.", "-isystem",
           str(include), "-isystem", str(include / "vltstd"),
           *(f"libV{design.top}.a" for design in designs), str(_verilated(tool, cxx, waves)),
           "-pthread", *trace], work, tool.environment(cxx.command))
    return {"build_seconds": seconds, "verilog_lines": sum(d.lines for d in designs)}


def _flags(waves: str | None, top: str) -> list[str]:
    return ["--cc", "--assert", "--top-module", top, "--prefix", f"V{top}", "--Mdir", "cpp",
            *SPEED_FLAGS, *waivers(), "--output-split", str(SPLIT), "--timescale", "1ns/1ps",
            "-CFLAGS", "-fPIC -fvisibility=hidden -DVL_USER_FINISH -DVL_USER_STOP -DVL_USER_FATAL",
            *([f"--trace-{waves}"] if waves else [])]


def _verilated(tool: Verilator, cxx: Compiler, waves: str | None) -> Path:
    """Verilator's own library, made with the make file of a design that does nothing."""
    def make(path: Path) -> None:
        work, env = path.parent, tool.environment(cxx.command)
        (work / "nothing.v").write_text("module nothing; endmodule\n")
        _step([str(tool.executable), *flags, "nothing.v"], work, env)
        _step(["make", f"-j{JOBS}", "-C", "cpp", "-f", "Vnothing.mk",
               f"OPT_GLOBAL={OPTIMIZE}", "libverilated.a"], work, env)
        shutil.copyfile(work / "cpp" / "libverilated.a", path)

    flags = _flags(waves, "nothing")
    return kept("verilated", f"{digest(tool.version, cxx.name, OPTIMIZE, *flags)}.a", make)[0]


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
