# SPDX-License-Identifier: Apache-2.0
"""The one artifact that the compiler makes and every device runs.

A program file is, little-endian: the magic ``MAKALU\\0\\2``, the SHA-256 of all that follows (32
bytes), the length of the header (8 bytes), the header (JSON, UTF-8, sorted keys), and the blobs
whose names and lengths the header lists, in its order: ``image`` (the bytes of region PROGRAM:
instructions from offset 0, END last, then weights) and, where the graph's edges run on the host,
``host_pre`` and ``host_post`` (ONNX models). The same program is the same bytes, always.
"""

import dataclasses
import hashlib
import itertools
import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isa.config import ISA_VERSION, Config, ConfigError
from isa.instructions import INSTRUCTION_BYTES, Instruction, Region
from isa.layout import Buffer
from isa.validate import BLOBS, ProgramError, check_header, check_tables, need

MAGIC = b"MAKALU\0\2"
"""The last byte is the version of the format."""

LENGTH = struct.Struct("<Q")
"""Of the header, behind the checksum."""


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
        blobs = [header.pop(name) for name in BLOBS]
        header["region_sizes"] = {str(int(k)): v for k, v in self.region_sizes.items()}
        header["isa_version"] = ISA_VERSION
        header["config_hash"] = f"{self.config.hash:016x}"
        header["blobs"] = [[name, len(blob)] for name, blob in zip(BLOBS, blobs)]
        text = json.dumps(header, sort_keys=True).encode()
        body = b"".join([LENGTH.pack(len(text)), text, *blobs])
        return MAGIC + hashlib.sha256(body).digest() + body

    @classmethod
    def from_bytes(cls, data: bytes, source: str = "program") -> "Program":
        """The program in a file's bytes; ``source`` names it in errors.

        Raises
        ------
        ProgramError
            If the bytes are not a program, are damaged, of another version, or break a rule of
            :mod:`isa.validate`.
        """
        need(data[:len(MAGIC) - 1] == MAGIC[:-1],
             f"{source}: not a Makalu program; make one with makalu compile")
        try:
            need(data[:len(MAGIC)] == MAGIC, "it is of another version of the program format")
            check, body = data[len(MAGIC):len(MAGIC) + 32], data[len(MAGIC) + 32:]
            need(hashlib.sha256(body).digest() == check,
                 "the file is damaged, its checksum is wrong")
            return cls._of_body(body)
        except (ProgramError, ConfigError) as e:
            raise ProgramError(f"{source}: {e}; compile the model again") from None

    @classmethod
    def _of_body(cls, body: bytes) -> "Program":
        """What lies behind the checksum."""
        need(len(body) >= LENGTH.size, "the file has no header")
        (length,) = LENGTH.unpack_from(body)
        at = LENGTH.size + length
        need(at <= len(body), "the header is longer than the file")
        try:
            header = json.loads(body[LENGTH.size:at])
        except (ValueError, RecursionError) as e:
            raise ProgramError(f"the header is not JSON ({e})") from None
        check_header(header)
        need(tuple(header.pop("isa_version")) == ISA_VERSION,
             "it was made for another version of the instruction set")
        sizes = [size for _, size in header.pop("blobs")]
        need(at + sum(sizes) == len(body), "the blobs are not as long as the header says")
        ends = itertools.accumulate(sizes, initial=at)
        blobs: dict[str, Any] = {name: body[end:end + size]
                                 for name, size, end in zip(BLOBS, sizes, ends)}
        fields = header.pop("config")
        config = Config(**{**fields, "dtypes": tuple(fields["dtypes"])})
        need(f"{config.hash:016x}" == header.pop("config_hash"),
             "its configuration does not match its hash")
        for side in ("inputs", "outputs"):
            header[side] = [Buffer(**b) for b in header[side]]
        header["region_sizes"] = {Region(int(k)): v for k, v in header["region_sizes"].items()}
        check_tables(header, config, blobs["image"])
        return cls(config=config, **header, **blobs)

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
