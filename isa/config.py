# SPDX-License-Identifier: Apache-2.0
"""The parameters of one machine, what follows from them, and the checks that make them legal.

A configuration is read by the RTL, the compiler, the golden model and the runtime; its hash is in
the identification registers and in every program, so that a program never runs on another machine.
"""

import dataclasses
import functools
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from isa.errors import UserError

ISA_VERSION = (3, 0)

GRANULE = 4
"""Bytes that the feeder can align to: a pixel of a shallow layer."""

PARAM_WORDS = 8
"""Scratchpad words of post-processor parameters for one block of output channels: a block has as
many channels as a word has bytes, and each channel has an INT32 bias and a binary32 scale. With
floating-point operands the bias is binary32, too."""

FLOAT_PARAM_WORDS = 4
"""The same for the window engine, whose blocks have half as many channels of 16 bits."""

SPM_ADDRESS_BITS = 20
"""Width of a scratchpad word address in instructions."""

DTYPES = ("int8", "fp16", "bf16")
"""Data types that a configuration may name; every machine has the first."""

PRECISIONS = {**{name: name for name in DTYPES}, "w8": "fp16"}
"""What a network's numbers may be throughout, and the type that a machine has to have for it; w8:
INT8 weights, FP16 activations."""

REDUCTION = 1 << 15
"""Most products of a floating-point sum: as many of the largest as an accumulator holds."""


class ConfigError(UserError, ValueError):
    """A configuration that cannot be built; the message says which field, why, what is legal."""


def _is_pow2(n: int) -> bool:
    return n > 0 and n & (n - 1) == 0


@dataclass(frozen=True, kw_only=True)
class Config:
    """One machine.

    Parameters
    ----------
    name : str
        Used in messages and reports; not part of the hash.
    lanes : int
        Reduction lanes of a tile, which are also its columns and the bytes of a scratchpad word:
        4, 8 or 16.
    tiles : int
        Tiles of ``lanes`` x ``lanes`` multipliers working in lockstep: 1, 2 or 4.
    spm_bytes : int
        Scratchpad size in bytes.
    spm_banks : int
        Single-port banks, one word wide, word addresses interleaved: a power of two.
    psum_depth : int
        Output pixels that one accumulator bank holds; there are two banks a tile.
    ppu_lanes : int
        Post-processor outputs a cycle for each tile.
    weight_words : int
        Weight words read from the scratchpad in a cycle.
    vector_lanes : int
        Outputs a cycle of the vector engine.
    window_taps : int
        Multiply-accumulates a cycle in each lane of the window engine, which has a group of
        ``lanes`` lanes for each tile: 1 to 4; 0: no window engine.
    window_lanes : int
        Outputs a cycle of each group of the window engine.
    bus_bytes : int
        AXI4 data width in bytes: 8, 16 or 32.
    addr_bits : int
        AXI4 address width: 32 to 64.
    max_burst : int
        Longest AXI4 burst in beats: 1 to 256.
    outstanding : int
        AXI4 bursts in flight in each direction.
    queue_depth : int
        Instructions that each engine's queue holds.
    profile : bool
        Count where every cycle of every engine goes (:data:`isa.registers.BUCKETS`).
    dtypes : tuple[str, ...]
        Data types that the machine computes with, in the order of :data:`DTYPES`. A 16-bit type
        works in half as many lanes, two bytes each.
    exchange : bool
        Works in a gang: words go from scratchpad to scratchpad, and cores signal one another.

    Raises
    ------
    ConfigError
        If a field is out of its range or two fields contradict one another.
    """

    name: str = "custom"
    lanes: int = 16
    tiles: int = 1
    spm_bytes: int = 512 * 1024
    spm_banks: int = 8
    psum_depth: int = 128
    ppu_lanes: int = 8
    weight_words: int = 2
    vector_lanes: int = 8
    window_taps: int = 3
    window_lanes: int = 4
    bus_bytes: int = 16
    addr_bits: int = 40
    max_burst: int = 256
    outstanding: int = 8
    queue_depth: int = 8
    profile: bool = True
    dtypes: tuple[str, ...] = ("int8",)
    exchange: bool = False

    def __post_init__(self) -> None:
        def need(ok: bool, field: str, rule: str) -> None:
            if not ok:
                raise ConfigError(
                    f"configuration {self.name!r}: {field} is {getattr(self, field)!r}, "
                    f"but it has to be {rule}")

        need(self.lanes in (4, 8, 16), "lanes", "4, 8 or 16")
        need(self.tiles in (1, 2, 4), "tiles", "1, 2 or 4")
        need(_is_pow2(self.spm_banks) and 2 <= self.spm_banks <= 64, "spm_banks",
             "a power of two from 2 to 64")
        need(_is_pow2(self.weight_words) and self.lanes // self.weight_words >= 4, "weight_words",
             "a power of two and at most a quarter of the lanes, so that a tile takes at least "
             "four cycles to load and an accumulator entry is never revisited too early")
        need(self.spm_banks >= 2 * self.weight_words, "spm_banks",
             "at least twice weight_words, so that weights leave banks to the others")
        row = self.lanes * self.spm_banks
        need(self.spm_bytes % row == 0 and self.spm_bytes >= 64 * row, "spm_bytes",
             f"a multiple of lanes * spm_banks ({row}) and at least {64 * row}")
        need(_is_pow2(self.spm_bytes // row), "spm_bytes",
             f"lanes * spm_banks ({row}) times a power of two")
        need(self.spm_words <= 1 << (SPM_ADDRESS_BITS - 1), "spm_bytes",
             f"at most {self.lanes << (SPM_ADDRESS_BITS - 1)} (the reach of a word address)")
        need(_is_pow2(self.psum_depth) and 4 <= self.psum_depth <= 256, "psum_depth",
             "a power of two from 4 to 256")
        need(_is_pow2(self.ppu_lanes) and self.ppu_lanes <= self.lanes, "ppu_lanes",
             "a power of two and at most lanes")
        need(_is_pow2(self.vector_lanes) and self.vector_lanes <= self.lanes, "vector_lanes",
             "a power of two and at most lanes")
        need(0 <= self.window_taps <= 4, "window_taps", "0 to 4")
        need(_is_pow2(self.window_lanes) and self.window_lanes <= self.lanes, "window_lanes",
             "a power of two and at most lanes")
        need(self.bus_bytes in (8, 16, 32), "bus_bytes", "8, 16 or 32")
        need(32 <= self.addr_bits <= 64, "addr_bits", "32 to 64")
        need(_is_pow2(self.max_burst) and self.max_burst <= 256, "max_burst",
             "a power of two up to 256")
        need(_is_pow2(self.outstanding) and 2 <= self.outstanding <= 64, "outstanding",
             "a power of two from 2 to 64")
        need(2 <= self.queue_depth <= 64, "queue_depth", "2 to 64")
        need(isinstance(self.profile, bool), "profile", "true or false")
        need(bool(self.dtypes) and all(d in DTYPES for d in self.dtypes), "dtypes",
             f"a tuple of {', '.join(DTYPES)}")
        need("int8" in self.dtypes, "dtypes", "a tuple with int8, which every machine has")
        need(tuple(sorted(set(self.dtypes), key=DTYPES.index)) == self.dtypes, "dtypes",
             f"in the order {', '.join(DTYPES)}, each once")
        need(isinstance(self.exchange, bool), "exchange", "true or false")
        need(not self.exchange or self.bus_bytes >= self.word_bytes, "exchange",
             "false where a word is wider than the bus")

    def __repr__(self) -> str:
        return (f"<Config {self.name}: {self.tiles} x {self.lanes} x {self.columns} multipliers, "
                f"scratchpad of {self.spm_bytes:,} bytes, bus of {self.bus_bytes} bytes, "
                f"{', '.join(self.dtypes)}>")

    @property
    def word_bytes(self) -> int:
        """Bytes of a scratchpad word."""
        return self.lanes

    @property
    def floats(self) -> bool:
        """Whether the machine has a floating-point type."""
        return len(self.dtypes) > 1

    @property
    def columns(self) -> int:
        """Output channels of a tile."""
        return self.lanes

    @property
    def spm_words(self) -> int:
        """Scratchpad size in words."""
        return self.spm_bytes // self.lanes

    @property
    def granules(self) -> int:
        """Feeder alignment units in a scratchpad word."""
        return self.lanes // GRANULE

    @property
    def macs(self) -> int:
        """Multiply-accumulates a cycle at peak."""
        return self.tiles * self.lanes * self.columns

    @property
    def shared_ports(self) -> bool:
        """Whether the tensor engine's residuals and results share scratchpad ports with the vector
        engine's operands and results: where the results of INT8 together are at most half a word a
        cycle. A window's taps, which may be more, then come one a cycle."""
        return 2 * (self.tiles * self.ppu_lanes + self.vector_lanes) <= self.lanes

    def runs(self, other: "Config") -> bool:
        """Whether a machine of this configuration runs the programs of another one: of the same,
        or of the same without ``exchange``."""
        return other.hash in (self.hash, dataclasses.replace(self, exchange=False).hash)

    @property
    def fields(self) -> dict[str, Any]:
        """What hash and program files have of it: ``exchange`` only where it is true, so that a
        machine without it is the one that it was."""
        found = dataclasses.asdict(self)
        return found if self.exchange else {k: v for k, v in found.items() if k != "exchange"}

    @functools.cached_property
    def hash(self) -> int:
        """64 bits that identify every machine of this configuration and instruction set."""
        fields = self.fields
        del fields["name"]
        text = json.dumps([ISA_VERSION, fields], sort_keys=True)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
