# SPDX-License-Identifier: Apache-2.0
"""The stand-in machine of standin.sv for a configuration, and a program that fits it."""

from pathlib import Path

import numpy as np

from isa.config import ISA_VERSION, Config
from isa.instructions import Instruction, Opcode, Region, assembled
from isa.layout import Buffer
from isa.program import Program

SOURCE = Path(__file__).with_name("standin.sv")

READ_ID, WRITE_ID = 3, 5
"""Of its bursts."""

MANNERS = {"good": 0, "cross": 1, "early_last": 2, "drop": 3, "change": 4, "narrow": 5, "stop": 6,
           "hang": 7, "no_last": 8}
"""What PROGRAM / 128 selects in the stand-in."""


def verilog(config: Config, beats: int = 4) -> str:
    """The stand-in with the configuration's bus, address width and hash."""
    text, (major, minor) = SOURCE.read_text(), ISA_VERSION
    for old, new in (("BUS = 8", f"BUS = {config.bus_bytes}"),
                     ("ADDR = 32", f"ADDR = {config.addr_bits}"),
                     ("BEATS = 4", f"BEATS = {beats}"),
                     ("VERSION = 0", f"VERSION = 32'h{major:04x}{minor:04x}"),
                     ("HASH = 0", f"HASH = 64'h{config.hash:x}")):
        assert old in text
        text = text.replace(old, new)
    return text


def program(config: Config, shape: tuple[int, ...] = (1, 4, 8, 8), name: str = "add-one"
            ) -> Program:
    """A program whose INPUT and OUTPUT hold one uint8 tensor each; its instructions only END."""
    n, c, h, w = shape
    lanes = config.word_bytes
    row = w * lanes
    block = row * h
    size = n * -(-c // lanes) * block

    def buffer(name: str, region: Region) -> Buffer:
        return Buffer(name=name, region=region, offset=0, size=size, dtype="uint8", shape=shape,
                      view=shape, perm=(0, 1, 2, 3), nchw=shape, kind="blocked",
                      n_pitch=size // n, block_pitch=block, row_pitch=row)

    return Program(name=name, config=config, image=assembled([Instruction(Opcode.END)] * 2),
                   instruction_count=2, inputs=[buffer("x", Region.INPUT)],
                   outputs=[buffer("y", Region.OUTPUT)],
                   region_sizes={Region.INPUT: size, Region.OUTPUT: size}, nodes=["conv1"],
                   node_of=[-1, 0])


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Random bytes."""
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
