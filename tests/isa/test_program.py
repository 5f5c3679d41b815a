# SPDX-License-Identifier: Apache-2.0
"""Program files: the same bytes always, and a clear word about every damage."""

import dataclasses
import hashlib
from pathlib import Path

import pytest

from isa.instructions import Instruction, Opcode, Region, assembled
from isa.layout import Buffer
from isa.presets import PRESETS
from isa.program import MAGIC, Program, ProgramError, Stream


def make() -> Program:
    code = [Instruction(Opcode.LOAD, dict(region=Region.INPUT, n0=4, n1=1, n2=1, n3=1)),
            Instruction(Opcode.END)]
    buffer = Buffer(name="x", region=2, offset=0, size=64, dtype="int8", shape=(1, 3, 2, 2),
                    view=(1, 3, 2, 2), perm=(0, 1, 2, 3), nchw=(1, 3, 2, 2), kind="blocked",
                    n_pitch=64, block_pitch=64, row_pitch=32)
    return Program(name="net", config=PRESETS["core256"],
                   image=assembled(code) + b"weights", instruction_count=2,
                   inputs=[buffer], outputs=[], region_sizes={Region.INPUT: 64}, nodes=["conv"],
                   node_of=[0, -1], macs=2561, multiplications=2561,
                   compulsory_bytes=64, host_post=b"onnx")


def test_round_trip(tmp_path: Path) -> None:
    p = make()
    p.save(tmp_path / "net.mkl")
    back = Program.load(tmp_path / "net.mkl")
    assert back == p
    assert back.to_bytes() == p.to_bytes() == make().to_bytes()
    assert back.roofline_cycles == 11
    assert (back.node_name(0), back.node_name(1)) == ("conv", "")
    assert "# conv\n    0  LOAD" in back.disassemble()


def gang() -> Program:
    """Rank 0 loads two words and sends them to rank 1, which stores them."""
    streams = [[Instruction(Opcode.LOAD, dict(region=Region.INPUT, n0=2, n1=1, n2=1, n3=1)),
                Instruction(Opcode.XFER, dict(n0=2, n1=1, n2=1, n3=1, wait_mask=1, wait_load=1,
                                              to=2, signal=1))],
               [Instruction(Opcode.AWAIT, dict(threshold=1)),
                Instruction(Opcode.STORE, dict(region=Region.OUTPUT, n0=2, n1=1, n2=1, n3=1,
                                               wait_mask=1 << 6, wait_await=1))]]
    code = [assembled([*stream, Instruction(Opcode.END)]) for stream in streams]
    return dataclasses.replace(
        make(), config=dataclasses.replace(PRESETS["core256"], exchange=True),
        image=b"".join(code), instruction_count=3, node_of=[0, 0, -1],
        region_sizes={Region.INPUT: 64, Region.OUTPUT: 64},
        streams=[Stream(len(code[0]), 3, [-1, 0, -1], [1, 2, 3])])


def test_gangs() -> None:
    p = gang()
    back = Program.from_bytes(p.to_bytes())
    assert back == p and back.to_bytes() == p.to_bytes()
    assert (back.ranks, back.starts) == (2, [0, 128])
    assert [i.opcode for i in back.instructions(1)] == [Opcode.AWAIT, Opcode.STORE, Opcode.END]
    assert (back.node_name(1), back.node_name(0, 1), back.node_name(1, 1)) == ("conv", "", "conv")
    text = back.disassemble()
    assert text.index("# rank 0\n# conv\n") < text.index("# rank 1\n    0  AWAIT")
    assert dataclasses.replace(make(), streams=p.streams).roofline_cycles == 6


def test_another_machine_refuses_it() -> None:
    with pytest.raises(ProgramError, match="compiled for 'core256'.*this machine is 'tiny'.*"
                                           "--config tiny"):
        make().check(PRESETS["tiny"])
    make().check(PRESETS["core256"])


def sealed(data: bytes) -> bytes:
    """The file with a checksum that is right again."""
    return MAGIC + hashlib.sha256(data[40:]).digest() + data[40:]


@pytest.mark.parametrize("damage,says", [
    (lambda b: b"PK" + b[2:], "not a Makalu program"),
    (lambda b: b[:7] + b"\1" + b[8:], "another version of the program format"),
    (lambda b: b[:-3], "damaged"), (lambda b: b[:40], "damaged"), (lambda b: b + b"x", "damaged"),
    (lambda b: b[:-60] + bytes([b[-60] ^ 1]) + b[-59:], "damaged"),
    (lambda b: sealed(b[:-3]), "the blobs are not as long as the header says"),
    (lambda b: sealed(b[:40]), "the file has no header"),
    (lambda b: sealed(b[:50]), "the header is longer than the file"),
    (lambda b: sealed(b.replace(b'"isa_version": [3, ', b'"isa_version": [9, ')),
     "another version of the instruction set"),
    (lambda b: sealed(b.replace(b'"psum_depth": 128', b'"psum_depth": 256')),
     "does not match its hash"),
    (lambda b: sealed(b.replace(b'"psum_depth": 128', b'"psum_depth": 127')),
     "psum_depth is 127, but it has to be a power of two"),
    (lambda b: sealed(b.replace(b'"blobs"', b'"blubs"')), "has no field 'blobs'")])
def test_damage(damage, says: str) -> None:
    data = damage(make().to_bytes())
    with pytest.raises(ProgramError, match=f"net.mkl: .*{says}.*(compile the model|make one)"):
        Program.from_bytes(data, "net.mkl")
