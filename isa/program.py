# SPDX-License-Identifier: Apache-2.0
"""The one artifact that the compiler makes and every device runs.

A program file is, little-endian: the magic ``MAKALU\\0\\3``, the SHA-256 of all that follows (32
bytes), the length of the header (8 bytes), the header (JSON, UTF-8, sorted keys), and the blobs
whose names and lengths the header lists, in its order: ``image`` (the bytes of region PROGRAM:
instructions from offset 0, END last, then weights) and, where the graph's edges run on the host,
``host_pre`` and ``host_post`` (ONNX models), of each entry. The same program is the same bytes,
always.
"""

import dataclasses
import hashlib
import itertools
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isa.config import ISA_VERSION, Config, ConfigError
from isa.instructions import Instruction, Region, codes
from isa.layout import Buffer
from isa.validate import (EDGES, SHARED, ProgramError, blob_names, check_header, check_tables,
                          need)

MAGIC = b"MAKALU\0\3"
"""The last byte is the version of the format."""

LENGTH = struct.Struct("<Q")
"""Of the header, behind the checksum."""


@dataclass(frozen=True)
class Patch:
    """A field of an instruction that is another one in each execution: ``stride`` is added to it
    for each ``1 << shift`` of an argument of the execution, of which ``mask`` says the bits that
    count."""

    instruction: int
    field: str
    argument: str
    stride: int
    shift: int = 0
    mask: int = 0xFFFF_FFFF


@dataclass(frozen=True)
class Stream:
    """What a rank of a gang does: fields as of :class:`Program`."""

    start: int
    instruction_count: int
    node_of: list[int] = field(default_factory=list)
    predicted_cycles: list[int] = field(default_factory=list)


@dataclass(kw_only=True)
class Program:
    """A compiled network. One with ``entries`` is several: each has instructions of its own, and
    all have the image, the regions and what executions leave there.

    Parameters
    ----------
    name : str
        The network's name.
    config : Config
        The machine that it was compiled for.
    image : bytes
        Region PROGRAM: instructions, then weights.
    start : int
        Byte of the image with the first instruction.
    instruction_count : int
        Instructions from there on, END included.
    patches : list[Patch]
        What changes from execution to execution.
    entries : list[Program]
        The others, which have none themselves.
    streams : list[Stream]
        Of a program for a gang those of ranks 1, 2, …; what the program itself says is of rank 0.
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
        One of :data:`isa.config.PRECISIONS`, or ``"mixed"``.
    predicted_cycles : list[int]
        For each instruction, the compiler's estimate of the cycles it adds; may be empty. END adds
        those that the other ranks of a gang still take.
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
    start: int = 0
    patches: list[Patch] = field(default_factory=list)
    entries: list["Program"] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
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
        with 16-bit types the peak is half of that with INT8; of a gang, of all its cores."""
        return max(-(-self.multiplications // (self.config.macs * self.ranks)),
                   -(-self.compulsory_bytes // (self.config.bus_bytes * self.ranks)))

    @property
    def ranks(self) -> int:
        """Cores that run it together."""
        return 1 + len(self.streams)

    @property
    def starts(self) -> list[int]:
        """For each rank the byte of the image with its first instruction."""
        return [self.start, *(s.start for s in self.streams)]

    def instructions(self, rank: int = 0) -> list[Instruction]:
        """The decoded instructions of a rank."""
        return list(map(Instruction.decode, self.codes(rank)))

    def codes(self, rank: int = 0) -> list[bytes]:
        """Its instructions as they lie in the image."""
        of = self.streams[rank - 1] if rank else self
        return list(itertools.islice(codes(self.image, of.start), of.instruction_count))

    def patched(self, arguments: Mapping[str, int]) -> dict[int, bytes]:
        """The instructions of :attr:`patches` in an execution with these arguments, by the bytes of
        the image with which they begin.

        Raises
        ------
        ProgramError
            If an argument is missing, or too large for its field.
        """
        found: dict[int, Instruction] = {}
        old_codes = self.codes()
        at = [self.start, *itertools.accumulate(map(len, old_codes), initial=self.start)][1:]
        for p in self.patches:
            need(p.argument in arguments,
                 f"program {self.name!r} needs the argument {p.argument!r}, which an execution "
                 "does not have; compile the model again")
            more = p.stride * ((arguments[p.argument] & p.mask) >> p.shift)
            try:
                old = found.get(p.instruction) or Instruction.decode(old_codes[p.instruction])
                found[p.instruction] = new = Instruction(old.opcode, {
                    **old.fields, p.field: old.fields.get(p.field, 0) + more})
                if len(new.encode()) != len(old_codes[p.instruction]):
                    raise ValueError(f"{p.field} changes its length")
            except ValueError as e:
                raise ProgramError(f"program {self.name!r}, instruction {p.instruction}: {e}; "
                                   "compile the model again") from None
        return {at[index]: instruction.encode() for index, instruction in found.items()}

    def node_name(self, index: int, rank: int = 0) -> str:
        """The source node of instruction ``index`` of a rank, or an empty string."""
        nodes = self.streams[rank - 1].node_of if rank else self.node_of
        at = nodes[index] if 0 <= index < len(nodes) else -1
        return self.nodes[at] if at >= 0 else ""

    def check(self, config: Config) -> None:
        """Refuse a machine of another configuration.

        Raises
        ------
        ProgramError
            If ``config`` is not one that runs programs of that which it was compiled for.
        """
        if not config.runs(self.config):
            raise ProgramError(
                f"program {self.name!r} was compiled for {self.config.name!r} "
                f"({self.config.hash:016x}), this machine is {config.name!r} ({config.hash:016x}): "
                f"compile the model again with --config {config.name}")

    def disassemble(self) -> str:
        """One line an instruction: position, source node where it changes, fields; of a gang rank
        by rank."""
        lines = []
        for rank in range(self.ranks):
            lines += [f"# rank {rank}"] * (self.ranks > 1)
            last = ""
            for i, instruction in enumerate(self.instructions(rank)):
                node = self.node_name(i, rank)
                if node and node != last:
                    lines.append(f"# {node}")
                    last = node
                lines.append(f"{i:5d}  {instruction}")
        return "\n".join(lines)

    def to_bytes(self) -> bytes:
        """The program file."""
        header = {**self._header(), "config": self.config.fields,
                  "isa_version": ISA_VERSION, "config_hash": f"{self.config.hash:016x}",
                  "region_sizes": {str(int(k)): v for k, v in self.region_sizes.items()},
                  "precision": self.precision, "entries": [e._header() for e in self.entries]}
        if self.streams:
            header["streams"] = list(map(dataclasses.asdict, self.streams))
        blobs = [self.image, *(getattr(p, name) for p in (self, *self.entries) for name in EDGES)]
        header["blobs"] = [[name, len(blob)]
                           for name, blob in zip(blob_names(len(self.entries)), blobs)]
        text = json.dumps(header, sort_keys=True).encode()
        body = b"".join([LENGTH.pack(len(text)), text, *blobs])
        return MAGIC + hashlib.sha256(body).digest() + body

    def _header(self) -> dict[str, Any]:
        """The fields that every entry has for itself."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)
                  if f.name not in (*SHARED, "entries", "streams", *EDGES)}
        for name in ("inputs", "outputs", "patches"):
            fields[name] = [dataclasses.asdict(v) for v in fields[name]]
        return fields

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
             f"{source}: not a Makalu program; make one with makalu compile, "
             "of a decoder with --context")
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
        image, *edges = (body[end:end + size] for size, end in zip(sizes, ends))
        fields = header.pop("config")
        config = Config(**{**fields, "dtypes": tuple(fields["dtypes"])})
        need(f"{config.hash:016x}" == header.pop("config_hash"),
             "its configuration does not match its hash")
        regions = {Region(int(k)): v for k, v in header.pop("region_sizes").items()}
        shared: dict[str, Any] = {"config": config, "image": image, "region_sizes": regions,
                  "precision": header.pop("precision")}
        made = []
        for i, entry in enumerate((header, *header.pop("entries"))):
            for side in ("inputs", "outputs"):
                entry[side] = [Buffer(**b) for b in entry[side]]
            entry["patches"] = [Patch(**p) for p in entry["patches"]]
            entry["streams"] = [Stream(**s) for s in entry.get("streams", [])]
            check_tables({**entry, **shared}, config, image)
            own: dict[str, Any] = dict(zip(EDGES, edges[2 * i:2 * i + 2]))
            made.append(cls(**entry, **shared, **own))
        made[0].entries = made[1:]
        need(not (made[0].streams and made[0].entries),
             "a program for several cores has one entry")
        return made[0]

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
