# SPDX-License-Identifier: Apache-2.0
"""Each rule of a program file is broken once, under a checksum that is right."""

import dataclasses
import json
import struct
from collections.abc import Callable
from typing import Any

import pytest

from isa.instructions import Instruction, Opcode, Region, assembled
from isa.layout import Buffer
from isa.presets import PRESETS
from isa.program import Program, ProgramError
from isa.validate import BUFFER, CONFIG, HEADER
from tests.isa.test_program import gang, make, sealed


def changed(change: Callable[[dict[str, Any]], object], p: Program | None = None) -> bytes:
    """The file of a program whose header is changed."""
    data = (p or two_inputs()).to_bytes()
    (length,) = struct.unpack_from("<Q", data, 40)
    header = json.loads(data[48:48 + length])
    change(header)
    text = json.dumps(header).encode()
    return sealed(data[:40] + struct.pack("<Q", len(text)) + text + data[48 + length:])


def two_inputs() -> Program:
    p = make()
    p.inputs = [*p.inputs, dataclasses.replace(p.inputs[0], name="y", offset=64)]
    p.region_sizes = {Region.INPUT: 128}
    return p


def in_buffer(**fields: Any) -> Callable[[dict[str, Any]], object]:
    return lambda h: h["inputs"][0].update(fields)


BREAKS: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda h: h.pop("macs"), "the header has no field 'macs'"),
    (lambda h: h.update(more=1), "the header has a field 'more', which is none"),
    (lambda h: h.update(name=7), "name has to be a text"),
    (lambda h: h.update(name="\ud800"), "name has to be a text"),
    (lambda h: h.update(macs=-1), "macs has to be an integer from 0 to 9223372036854775807"),
    (lambda h: h.update(macs=True), "macs has to be an integer"),
    (lambda h: h.update(macs=1 << 63), "macs has to be an integer"),
    (lambda h: h.update(nodes="conv"), "nodes has to be a list, each item a text"),
    (lambda h: h.update(placement=[{"node": "n"}]), "placement has to be a list, each item an obj"),
    (lambda h: h.update(precision="fp64"), "precision has to be one of int8, fp16, bf16, w8"),
    (lambda h: h.update(precision="fp16"), "the machine 'core256' does not have"),
    (lambda h: h.update(region_sizes={"4": 1}), "region_sizes has to be an object with sizes"),
    (lambda h: h.update(region_sizes={"1": -1}), "region_sizes has to be an object with sizes"),
    (lambda h: h["region_sizes"].update({"1": 1 << 33}), "region_sizes has to be an object with"),
    (lambda h: h["blobs"].reverse(), "blobs has to be .name, size. of each of image, host_pre"),
    (lambda h: h.update(blobs=[["image", 1], ["host_pre", -1], ["host_post", 0]]), "blobs has to"),
    (lambda h: h["config"].update(lanes="x"), "the configuration: lanes has to be an integer"),
    (lambda h: h["config"].update(tiles=True), "the configuration: tiles has to be an integer"),
    (lambda h: h["config"].update(name="\x1b[2J"), "the configuration: name has to be a text"),
    (lambda h: h.update(inputs=[3]), "inputs 0 is no object"),
    (lambda h: h["inputs"][0].pop("size"), "inputs 0 has no field 'size'"),
    (in_buffer(scale=float("nan")), "inputs 0: scale has to be a positive number"),
    (in_buffer(scale=float("inf")), "inputs 0: scale has to be a positive number"),
    (in_buffer(dtype="int64"), "inputs 0: dtype has to be one of int8, uint8"),
    (in_buffer(kind="planar"), "inputs 0: kind has to be one of blocked, packed"),
    (in_buffer(shape=[1, -3, 2, 2]), "inputs 0: shape has to be a list, each item an integer fr"),
    (in_buffer(nchw=[1, 3, 4]), "inputs 0: nchw has to be four positive integers"),
    (in_buffer(row_pitch=-32), "inputs 0: row_pitch has to be an integer from 0"),
    (in_buffer(row_pitch=1 << 62), "inputs 0: row_pitch has to be an integer from 0"),
    (in_buffer(shape=[1, 3, 2, 3]), "input 'x': shape, view and nchw do not have the same number"),
    (in_buffer(view=[1, 3, 2, 1]), "input 'x': shape, view and nchw do not have the same number"),
    (in_buffer(perm=[0, 0, 1, 2]), "input 'x': perm does not name each axis of view once"),
    (in_buffer(zero_point=200), "input 'x': the zero point is no int8"),
    (in_buffer(row_pitch=16), "input 'x': row_pitch is 16, and what it spans has 32 bytes"),
    (in_buffer(block_pitch=48), "input 'x': block_pitch is 48, and what it spans has 64 bytes"),
    (in_buffer(n_pitch=0), "input 'x': n_pitch is 0, and what it spans has 64 bytes"),
    (in_buffer(row_pitch=33), "input 'x': offset and pitches have to be multiples of the word"),
    (in_buffer(size=48), "input 'x': size is 48, and 1 images of 64 bytes have 64"),
    (in_buffer(cell=[1, 7]), "input 'x': n_pitch is 64, and what it spans has 128 bytes"),
    (in_buffer(kind="packed", nchw=[1, 6, 2, 1]), "6 channels are too many for layout packed"),
    (in_buffer(region=3), "input 'x' lies in region 3, not in INPUT"),
    (in_buffer(offset=1 << 31), "input 'x' ends behind region INPUT"),
    (in_buffer(name="y", dtype="uint8"), "two inputs have the same name"),
    (lambda h: h.update(outputs=[{**b, "name": "y", "region": 3} for b in h["inputs"]],
                        region_sizes={"2": 128, "3": 128}), "two outputs have the same name"),
    (in_buffer(offset=16), "two inputs overlap"),
    (lambda h: h.update(instruction_count=0), "instruction_count has to be an integer from 1"),
    (lambda h: h.update(instruction_count=5), "5 instructions do not fit in an image of 135 bytes"),
    (lambda h: h.update(instruction_count=1, node_of=[]), "the last instruction, and no other"),
    (lambda h: h.update(node_of=[0]), "node_of has 1 entries for 2 instructions"),
    (lambda h: h.update(node_of=[0, 1]), "node_of names a node beyond the 1 that there are"),
    (lambda h: h.update(predicted_cycles=[1]), "predicted_cycles has 1 entries for 2"),
    (lambda h: h.update(node_macs=[1, 2]), "node_macs has 2 entries for 1 nodes"),
]


@pytest.mark.parametrize("change,says", BREAKS, ids=range(len(BREAKS)))
def test_rules(change: Callable[[dict[str, Any]], object], says: str) -> None:
    with pytest.raises(ProgramError, match=f"^net.mkl: .*({says}).*; compile the model again$"):
        Program.from_bytes(changed(change), "net.mkl")


GANG_BREAKS: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda h: h["streams"][0].pop("start"), "streams 0 has no field 'start'"),
    (lambda h: h["streams"][0].update(rank=1), "streams 0 has a field 'rank', which is none"),
    (lambda h: h["streams"][0].update(start=-1), "streams 0: start has to be an integer from 0"),
    (lambda h: h["streams"][0].update(start=32), "start is 32, which is no multiple of 128"),
    (lambda h: h["streams"][0].update(start=1 << 20), "3 instructions do not fit"),
    (lambda h: h["streams"][0].update(instruction_count=2, node_of=[], predicted_cycles=[]),
     "the last instruction, and no other, has to be END"),
    (lambda h: h["streams"][0].update(node_of=[0]), "node_of of rank 1 has 1 entries for 3"),
    (lambda h: h["streams"][0].update(predicted_cycles=[0]), "predicted_cycles of rank 1 has 1"),
    (lambda h: h["streams"][0].update(node_of=[0, 0, 1]), "node_of of rank 1 names a node beyond"),
    (lambda h: h.update(streams=[3]), "streams 0 is no object"),
    (lambda h: h.update(streams=h["streams"] * 16), "for 17 cores, and a gang has at most 16"),
    (lambda h: h.update(patches=[dict(instruction=0, field="dram", argument="a", stride=1, shift=0,
                                      mask=1)]), "a program for several cores has no patches"),
    (lambda h: h["config"].update(exchange=1), "the configuration: exchange has to be true or"),
    (lambda h: (h["config"].pop("exchange"),
                h.update(config_hash=f"{PRESETS['core256'].hash:016x}")),
     "the machine 'core256' has no exchange"),
]


@pytest.mark.parametrize("change,says", GANG_BREAKS, ids=range(len(GANG_BREAKS)))
def test_rules_of_gangs(change: Callable[[dict[str, Any]], object], says: str) -> None:
    with pytest.raises(ProgramError, match=f"^net.mkl: .*({says}).*; compile the model again$"):
        Program.from_bytes(changed(change, gang()), "net.mkl")


def test_gangs_have_one_entry_and_an_exchange() -> None:
    with pytest.raises(ProgramError, match="a program for several cores has one entry"):
        Program.from_bytes(dataclasses.replace(gang(), entries=[gang()]).to_bytes())
    alone = dataclasses.replace(gang(), config=PRESETS["core256"], streams=[])
    with pytest.raises(ProgramError, match="it sends or awaits, and the machine 'core256' has no"):
        Program.from_bytes(alone.to_bytes())


def test_opcodes() -> None:
    p = make()
    p.image = bytes([99]) + p.image[1:]
    with pytest.raises(ProgramError, match="an instruction that is none: illegal opcode 99"):
        Program.from_bytes(p.to_bytes())
    for size, says in ((0, "LOAD with an illegal size of 0 units"), (15, "do not fit")):
        p.image = bytes([Opcode.LOAD, size]) + make().image[2:]
        with pytest.raises(ProgramError, match=says):
            Program.from_bytes(p.to_bytes())
    p.image = assembled([Instruction(Opcode.END)] * 2)
    with pytest.raises(ProgramError, match="the last instruction, and no other, has to be END"):
        Program.from_bytes(p.to_bytes())


def test_what_the_machine_can_address() -> None:
    p = dataclasses.replace(make(), config=PRESETS["tiny"], inputs=[], node_of=[])
    p.region_sizes = {Region.WORKSPACE: 1 << 31}
    with pytest.raises(ProgramError, match="more than half of what the machine 'tiny' can addres"):
        Program.from_bytes(p.to_bytes())


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"a":' * 100_000, b"3", b"\xff", b"{}",
                                  b"[" + b"9" * 5000 + b"]"])
def test_headers_that_are_none(text: bytes) -> None:
    with pytest.raises(ProgramError, match="the header"):
        Program.from_bytes(sealed(bytes(40) + struct.pack("<Q", len(text)) + text))


def test_every_field_has_a_rule() -> None:
    fields = {f.name for f in dataclasses.fields(Program)}
    assert HEADER.keys() | {"image", "host_pre", "host_post"} == fields | {
        "isa_version", "config_hash", "blobs"}
    assert BUFFER.keys() == {f.name for f in dataclasses.fields(Buffer)}
    assert CONFIG.keys() == {f.name for f in dataclasses.fields(PRESETS["tiny"])}
