# SPDX-License-Identifier: Apache-2.0
"""What holds of every program in a file: one rule, one message.

A file comes from anywhere, and its checksum says that it is whole, not that it is meant well. So
:func:`check_header` looks at the type and the range of every field of the header before one is
used, and :func:`check_tables` whether they agree with one another, with the image and with the
machine. What the instructions do is checked by the machine itself while they run.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from isa.config import PRECISIONS, Config
from isa.errors import UserError
from isa.instructions import (DMA_FIELDS, EXCHANGE, FETCH_BYTES, MOST_RANKS, UNIT_BYTES, Opcode,
                              Region, codes, opcode_of)
from isa.layout import KINDS, RANGE, Buffer, machine_shape, pixel_bytes

EDGES = ("host_pre", "host_post")
"""Blobs that every entry of a program has."""

SHARED = ("config", "image", "region_sizes", "precision")
"""Fields that all entries of a program have in common."""


def blob_names(entries: int) -> list[str]:
    """What follows the header in a file, in this order."""
    return ["image", *EDGES * (1 + entries)]


REACH = 1 << 32
"""Bytes of a region that an instruction can address."""

MOST_AXES, MOST_TEXT = 32, 1 << 16


class ProgramError(UserError, ValueError):
    """A file that is no program, or a program for another machine; the message says which."""


def need(ok: bool, text: str) -> None:
    """Raise a ProgramError unless it is ``ok``."""
    if not ok:
        raise ProgramError(text)


@dataclass(frozen=True)
class Rule:
    """What a value has to be, in words and as a test that takes any value of JSON."""

    text: str
    holds: Callable[[Any], bool]


def _integer(low: int, high: int) -> Rule:
    return Rule(f"an integer from {low} to {high}",
                lambda v: type(v) is int and low <= v <= high)


def _list_of(rule: Rule, most: int = REACH) -> Rule:
    return Rule(f"a list, each item {rule.text}",
                lambda v: type(v) is list and len(v) <= most and all(map(rule.holds, v)))


def _object(names: Collection[str], optional: Collection[str] = ()) -> Rule:
    """An object with these names and no others, all of whose values are text."""
    return Rule(f"an object of texts with {', '.join(names)}",
                lambda v: type(v) is dict and set(names) <= v.keys() <= {*names, *optional}
                and all(map(TEXT.holds, v.values())))


def _is_text(value: Any) -> bool:
    return (type(value) is str and len(value) <= MOST_TEXT
            and not any("\ud800" <= c <= "\udfff" for c in value))


NAME = Rule("a text of printable characters", lambda v: _is_text(v) and v.isprintable())
TEXT = Rule(f"a text of up to {MOST_TEXT} characters", _is_text)
COUNT = _integer(0, (1 << 63) - 1)
BYTES = _integer(0, REACH)
OBJECTS = Rule("a list of objects", lambda v: type(v) is list)
AXES = _list_of(_integer(1, REACH), MOST_AXES)

BUFFER = {
    "name": TEXT, "region": _integer(0, len(Region) - 1), "offset": BYTES, "size": BYTES,
    "dtype": Rule(f"one of {', '.join(RANGE)}", lambda v: type(v) is str and v in RANGE),
    "shape": AXES, "view": AXES, "perm": _list_of(_integer(0, MOST_AXES - 1), MOST_AXES),
    "nchw": Rule("four positive integers", lambda v: AXES.holds(v) and len(v) == 4),
    "cell": Rule("two positive integers", lambda v: AXES.holds(v) and len(v) == 2),
    "kind": Rule(f"one of {', '.join(KINDS)}", lambda v: type(v) is str and v in KINDS),
    "n_pitch": BYTES, "block_pitch": BYTES, "row_pitch": BYTES, "fill": _integer(-256, 255),
    "scale": Rule("a positive number",
                  lambda v: type(v) is float and math.isfinite(v) and v > 0),
    "zero_point": _integer(-256, 255),
}
"""Of each field of a buffer what it has to be."""

PATCH = {
    "instruction": _integer(0, REACH // UNIT_BYTES - 1),
    "field": Rule("a field of a transfer",
                  lambda v: type(v) is str and v in {f.name for f in DMA_FIELDS}),
    "argument": TEXT, "stride": _integer(-REACH, REACH), "shift": _integer(0, 31),
    "mask": _integer(0, REACH - 1),
}
"""Of each field of a patch what it has to be."""

STREAM = {
    "start": BYTES, "instruction_count": _integer(1, REACH // UNIT_BYTES),
    "node_of": _list_of(_integer(-1, REACH)), "predicted_cycles": _list_of(COUNT),
}
"""Of each field of a stream what it has to be."""

ENTRY = {
    **STREAM, "name": TEXT, "inputs": OBJECTS, "outputs": OBJECTS, "patches": OBJECTS,
    "nodes": _list_of(TEXT), "macs": COUNT, "multiplications": COUNT, "node_macs": _list_of(COUNT),
    "compulsory_bytes": COUNT,
    "placement": _list_of(_object(("node", "op", "engine", "reason"))),
    "choices": _list_of(_object(("layer", "op", "type", "reason"), ("sqnr_alone",))),
}
"""Of each field of an entry what it has to be."""

HEADER = {
    **ENTRY, "entries": OBJECTS, "streams": OBJECTS,
    "region_sizes": Rule(
        f"an object with sizes of regions 0 to {len(Region) - 1}, each {BYTES.text}",
        lambda v: type(v) is dict and v.keys() <= {str(int(r)) for r in Region}
        and all(map(BYTES.holds, v.values()))),
    "precision": Rule(f"one of {', '.join(PRECISIONS)}, mixed",
                      lambda v: type(v) is str and v in (*PRECISIONS, "mixed")),
    "config": Rule("an object", lambda v: type(v) is dict), "config_hash": TEXT,
    "isa_version": _list_of(COUNT, 2),
    "blobs": Rule("a list of [name, size]", lambda v: type(v) is list and all(
        type(b) is list and len(b) == 2 and TEXT.holds(b[0]) and COUNT.holds(b[1]) for b in v)),
}
"""Of each field of the header what it has to be."""

CONFIG = {f.name: Rule("a list of texts", _list_of(TEXT).holds) if f.name == "dtypes"
          else NAME if f.name == "name"
          else Rule("true or false", lambda v: type(v) is bool) if f.name in ("profile", "exchange")
          else COUNT for f in dataclasses.fields(Config)}
"""Of each field of the configuration its type; its range is checked by the configuration."""


def check_header(header: Any) -> None:
    """Type and range of every field of a header, as JSON gave them.

    Raises
    ------
    ProgramError
        At the first one that is not what it has to be.
    """
    need(type(header) is dict, "the header is no object")
    header = {"streams": [], **header}     # which a program for one core does not have
    _fields("the header", header, HEADER)
    _fields("the configuration", {"exchange": False, **header["config"]}, CONFIG)
    names = blob_names(len(header["entries"]))
    need([name for name, _ in header["blobs"]] == names,
         f"the header: blobs has to be [name, size] of each of {', '.join(names)}")
    _objects("", header, {"entries": ENTRY, "streams": STREAM})
    for k, entry in enumerate([header, *header["entries"]]):
        _objects(f"entry {k}: " if k else "", entry,
                 {"inputs": BUFFER, "outputs": BUFFER, "patches": PATCH})


def _objects(where: str, fields: Mapping[str, Any], rules: Mapping[str, Mapping[str, Rule]]
             ) -> None:
    for name, rule in rules.items():
        for k, item in enumerate(fields[name]):
            need(type(item) is dict, f"{where}{name} {k} is no object")
            _fields(f"{where}{name} {k}", item, rule)


def _fields(where: str, fields: Mapping[str, Any], rules: Mapping[str, Rule]) -> None:
    for name in sorted(fields.keys() | rules.keys()):
        need(name in fields, f"{where} has no field {name!r}")
        need(name in rules, f"{where} has a field {name[:40]!r}, which is none")
        need(rules[name].holds(fields[name]), f"{where}: {name} has to be {rules[name].text}")


def check_tables(header: Mapping[str, Any], config: Config, image: bytes) -> None:
    """Whether all parts of a program agree; ``inputs`` and ``outputs`` of the header are buffers,
    its ``streams`` :class:`isa.program.Stream`, and its ``region_sizes`` have regions as keys. An
    input of the graph may have several buffers, each with a layout of its own.

    Raises
    ------
    ProgramError
        At the first rule that is broken.
    """
    count, nodes, precision = (header[k] for k in ("instruction_count", "nodes", "precision"))
    _check_image(image, header["start"], count, config)
    _check_streams(header, config, image)
    _check_regions({**header["region_sizes"], Region.PROGRAM: len(image)}, config)
    need(precision == "mixed" or PRECISIONS[precision] in config.dtypes,
         f"precision is {precision}, which the machine {config.name!r} does not have")
    for name, want, what in (("node_of", count, "instructions"), ("node_macs", len(nodes), "nodes"),
                             ("predicted_cycles", count, "instructions")):
        need(len(header[name]) in (0, want),
             f"{name} has {len(header[name])} entries for {want} {what}")
    need(max((p.instruction for p in header["patches"]), default=0) < count,
         f"a patch is of an instruction beyond the {count} that there are")
    need(max(header["node_of"], default=-1) < len(nodes),
         f"node_of names a node beyond the {len(nodes)} that there are")
    for side, region in (("input", Region.INPUT), ("output", Region.OUTPUT)):
        buffers = header[f"{side}s"]
        arrays = {(b.name, b.dtype, b.shape) for b in buffers}
        need(len({name for name, *_ in arrays}) == len(arrays) and (
            side == "input" or len(arrays) == len(buffers)), f"two {side}s have the same name")
        for b in buffers:
            where = f"{side} {b.name!r}"
            need(b.region == region, f"{where} lies in region {b.region}, not in {region.name}")
            need(b.offset + b.size <= header["region_sizes"].get(region, 0),
                 f"{where} ends behind region {region.name}")
            _check_views(where, b)
            _check_pitches(where, b, config.word_bytes)
    ends = sorted((b.offset, b.offset + b.size) for b in header["inputs"])
    need(all(end <= start for (_, end), (start, _) in zip(ends, ends[1:])), "two inputs overlap")


def _check_streams(header: Mapping[str, Any], config: Config, image: bytes) -> None:
    streams, nodes = header["streams"], len(header["nodes"])
    need(not streams or config.exchange,
         f"it is for several cores, and the machine {config.name!r} has no exchange")
    need(not (streams and header["patches"]), "a program for several cores has no patches")
    need(len(streams) < MOST_RANKS,
         f"it is for {len(streams) + 1} cores, and a gang has at most {MOST_RANKS}")
    for rank, s in enumerate(streams, start=1):
        count = s.instruction_count
        _check_image(image, s.start, count, config)
        for name, found in (("node_of", s.node_of), ("predicted_cycles", s.predicted_cycles)):
            need(len(found) in (0, count),
                 f"{name} of rank {rank} has {len(found)} entries for {count} instructions")
        need(max(s.node_of, default=-1) < nodes,
             f"node_of of rank {rank} names a node beyond the {nodes} that there are")


def _check_image(image: bytes, start: int, count: int, config: Config) -> None:
    need(start % FETCH_BYTES == 0, f"start is {start}, which is no multiple of {FETCH_BYTES}")
    found = list(itertools.islice(codes(image, start), count))
    need(len(found) == count, f"{count} instructions do not fit in an image of {len(image)} bytes")
    try:
        opcodes = list(map(opcode_of, found))
    except ValueError as e:
        raise ProgramError(f"an instruction that is none: {e}") from None
    need(config.exchange or not set(EXCHANGE) & set(opcodes),
         f"it sends or awaits, and the machine {config.name!r} has no exchange")
    need(Opcode.END not in opcodes[:-1] and opcodes[-1] is Opcode.END,
         "the last instruction, and no other, has to be END")


def _check_regions(sizes: Mapping[Region, int], config: Config) -> None:
    total = sum(sizes.values())
    need(sizes[Region.PROGRAM] <= REACH,
         f"the image has {sizes[Region.PROGRAM]} bytes, more than an instruction can address")
    need(total <= 1 << config.addr_bits - 1,
         f"the regions have {total} bytes together, which is more than half of what the machine "
         f"{config.name!r} can address")


def _check_views(where: str, b: Buffer) -> None:
    elements = math.prod(b.nchw)
    need(math.prod(b.shape) == elements and math.prod(b.view) == elements,
         f"{where}: shape, view and nchw do not have the same number of elements")
    need(sorted(b.perm) == list(range(len(b.view))),
         f"{where}: perm does not name each axis of view once")
    low, high = RANGE[b.dtype]
    need(low <= b.zero_point <= high, f"{where}: the zero point is no {b.dtype}")


def _check_pitches(where: str, b: Buffer, lanes: int) -> None:
    """Rows, channel blocks and images follow one another, each within the next larger."""
    n, c, h, w = machine_shape(b)
    pixel = pixel_bytes(b, lanes)
    need(b.kind != "packed" or c <= pixel, f"{where}: {c} channels are too many for layout packed")
    blocks = -(-c // pixel)
    need(b.offset % lanes == b.row_pitch % lanes == b.block_pitch % lanes == b.n_pitch % lanes == 0,
         f"{where}: offset and pitches have to be multiples of the word of {lanes} bytes")
    for name, pitch, least in (("row_pitch", b.row_pitch, w * pixel),
                               ("block_pitch", b.block_pitch, h * b.row_pitch),
                               ("n_pitch", b.n_pitch, blocks * b.block_pitch)):
        need(pitch >= least, f"{where}: {name} is {pitch}, and what it spans has {least} bytes")
    need(b.size == n * b.n_pitch,
         f"{where}: size is {b.size}, and {n} images of {b.n_pitch} bytes have {n * b.n_pitch}")
