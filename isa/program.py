# SPDX-License-Identifier: Apache-2.0
"""The one artifact that the compiler makes and every device runs.

A program file is, little-endian: the magic ``MAKALU\\0\\1``, the length of the header (8 bytes),
the header (JSON, UTF-8, sorted keys), and the blobs whose names and lengths the header lists, in
its order: ``image`` (the bytes of region PROGRAM: instructions from offset 0, END last, then
weights) and, where the graph's edges run on the host, ``host_pre`` and ``host_post`` (ONNX models).
The same program is the same bytes, always.
"""

import dataclasses
import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isa.config import ISA_VERSION, Config
from isa.errors import UserError
from isa.instructions import INSTRUCTION_BYTES, Instruction, Region
from isa.layout import Buffer

MAGIC = b"MAKALU\0\1"


class ProgramError(UserError, ValueError):
    """A file that is no program, or a program for another machine; the message says which."""


@dataclass(kw_only=True)
class Program:
    """A compiled network.

    Parameters
    ----------
    name : str
        The network's name.
    config : Config
        The machine that it was compiled for.
    image : bytes
        Region PROGRAM: instructions, then weights.
    instruction_count : int
        Instructions in the image, END included.
    inputs, outputs : list[Buffer]
        Buffers in regions INPUT and OUTPUT, in the order in which ``host_pre`` makes and
        ``host_post`` takes them (without those: of the graph's inputs and outputs).
    region_sizes : dict[int, int]
        Bytes that each region needs.
    nodes : list[str]
        Names of the source nodes.
    node_of : list[int]
        For each instruction, its source node's position in ``nodes``; -1: none.
    macs : int
        Multiply-accumulates of the network as its author would count them.
    multiplications : int
        Those that the array's multipliers do for them: one of INT8 is one, of a 16-bit type two.
    node_macs : list[int]
        Those of each node; may be empty.
    compulsory_bytes : int
        DRAM bytes that no schedule avoids: weights, inputs and outputs once.
    precision : str
        ``"int8"``, ``"fp16"``, ``"bf16"`` or ``"mixed"``.
    predicted_cycles : list[int]
        For each instruction, the compiler's estimate of the cycles it adds; may be empty.
    placement : list[dict[str, str]]
        For the report: node, operator, engine (``array``, ``vector``, ``host``, ``none``), reason.
    choices : list[dict[str, str]]
        Of a mixed network, for each layer: ``layer``, ``op``, ``type``, ``reason``, and if it was
        measured ``sqnr_alone``, in dB.
    host_pre, host_post : bytes
        ONNX models for the host; empty where there is nothing to do.
    """

    name: str
    config: Config
    image: bytes
    instruction_count: int
    inputs: list[Buffer]
    outputs: list[Buffer]
    region_sizes: dict[int, int]
    nodes: list[str] = field(default_factory=list)
    node_of: list[int] = field(default_factory=list)
    macs: int = 0
    multiplications: int = 0
    node_macs: list[int] = field(default_factory=list)
    compulsory_bytes: int = 0
    precision: str = "int8"
    predicted_cycles: list[int] = field(default_factory=list)
    placement: list[dict[str, str]] = field(default_factory=list)
    choices: list[dict[str, str]] = field(default_factory=list)
    host_pre: bytes = b""
    host_post: bytes = b""

    def __repr__(self) -> str:
        return (f"<Program {self.name} for {self.config.name}, {self.precision}: "
                f"{self.instruction_count:,} instructions, {len(self.image):,} bytes, "
                f"{self.macs:,} MACs>")

    @property
    def roofline_cycles(self) -> int:
        """``max(multiplications / multipliers, compulsory DRAM bytes / bus bytes)``, rounded up;
        with 16-bit types the peak is half of that with INT8."""
        return max(-(-self.multiplications // self.config.macs),
                   -(-self.compulsory_bytes // self.config.bus_bytes))

    def instructions(self) -> list[Instruction]:
        """The decoded instructions."""
        step = INSTRUCTION_BYTES
        return [Instruction.decode(self.image[i * step:(i + 1) * step])
                for i in range(self.instruction_count)]

    def node_name(self, index: int) -> str:
        """The source node of instruction ``index``, or an empty string."""
        at = self.node_of[index] if 0 <= index < len(self.node_of) else -1
        return self.nodes[at] if at >= 0 else ""

    def check(self, config: Config) -> None:
        """Refuse a machine of another configuration.

        Raises
        ------
        ProgramError
            If ``config`` is not the one that the program was compiled for.
        """
        if config.hash != self.config.hash:
            raise ProgramError(
                f"program {self.name!r} was compiled for {self.config.name!r} "
                f"({self.config.hash:016x}), this machine is {config.name!r} ({config.hash:016x}): "
                f"compile the model again with --config {config.name}")

    def disassemble(self) -> str:
        """One line an instruction: position, source node where it changes, fields."""
        lines, last = [], ""
        for i, instruction in enumerate(self.instructions()):
            node = self.node_name(i)
            if node and node != last:
                lines.append(f"# {node}")
                last = node
            lines.append(f"{i:5d}  {instruction}")
        return "\n".join(lines)

    def to_bytes(self) -> bytes:
        """The program file."""
        header: dict[str, Any] = dataclasses.asdict(self)
        blobs = [(k, header.pop(k)) for k in ("image", "host_pre", "host_post")]
        header["region_sizes"] = {str(int(k)): v for k, v in self.region_sizes.items()}
        header["isa_version"] = ISA_VERSION
        header["config_hash"] = f"{self.config.hash:016x}"
        header["blobs"] = [[k, len(v)] for k, v in blobs]
        text = json.dumps(header, sort_keys=True).encode()
        return b"".join([MAGIC, struct.pack("<Q", len(text)), text, *(v for _, v in blobs)])

    @classmethod
    def from_bytes(cls, data: bytes, source: str = "program") -> "Program":
        """The program in a file's bytes; ``source`` names it in errors.

        Raises
        ------
        ProgramError
            If the bytes are not a program, are cut short, or are of another version.
        """
        if data[:len(MAGIC)] != MAGIC:
            raise ProgramError(f"{source}: not a Makalu program; make one with makalu compile")
        try:
            (length,) = struct.unpack_from("<Q", data, len(MAGIC))
            at = len(MAGIC) + 8 + length
            header = json.loads(data[len(MAGIC) + 8:at])
            if tuple(header.pop("isa_version")) != ISA_VERSION:
                raise ProgramError(f"{source}: made for another instruction set version; "
                                   "compile the model again")
            blobs: dict[str, Any] = {}
            for name, size in header.pop("blobs"):
                blobs[name] = data[at:at + size]
                if len(blobs[name]) != size:
                    raise ProgramError(f"{source}: the file is cut short; compile the model again")
                at += size
            want = header.pop("config_hash")
            fields = header.pop("config")
            fields["dtypes"] = tuple(fields["dtypes"])
            config = Config(**fields)
            if f"{config.hash:016x}" != want:
                raise ProgramError(f"{source}: its configuration does not match its hash; "
                                   "compile the model again")
            for side in ("inputs", "outputs"):
                header[side] = [Buffer(**b) for b in header[side]]
            header["region_sizes"] = {Region(int(k)): v for k, v in header["region_sizes"].items()}
            return cls(config=config, **header, **blobs)
        except (KeyError, TypeError, ValueError, struct.error) as e:
            if isinstance(e, ProgramError):
                raise
            raise ProgramError(f"{source}: the file is damaged ({e}); compile the model "
                               "again") from e

    def save(self, path: str | Path) -> None:
        """Write the program file."""
        Path(path).write_bytes(self.to_bytes())

    @classmethod
    def load(cls, path: str | Path) -> "Program":
        """Read a program file.

        Raises
        ------
        ProgramError
            If it is not one.
        """
        return cls.from_bytes(Path(path).read_bytes(), str(path))
