# SPDX-License-Identifier: Apache-2.0
"""What one tenant leaves on the device and what another finds, through the service, on golden
model, RTL and the cores of a chip."""

import numpy as np
import pytest

from isa.instructions import Instruction, Opcode, Region, assembled
from isa.layout import Buffer
from isa.presets import PRESETS
from isa.program import Program
from makalu.serve.accelerator import Hardware
from makalu.serve.requests import Failure, Request
from makalu.serve.tenants import Tenant, Tenants
from tests.e2e.programs import chain
from tests.e2e.test_tenants import SUM, WHOLE
from tests.makalu.serve.bench import failing, served

CONFIG = PRESETS["tiny"]
SPM, WORD = CONFIG.spm_bytes, CONFIG.word_bytes
FOUND = ("scratchpad", "workspace", "output")
A, B = (Tenant(name, digit * 64, ("*",)) for name, digit in (("a", "0"), ("b", "1")))


def port(name: str, region: Region, offset: int = 0) -> Buffer:
    """A scratchpad's worth of bytes."""
    words = SPM // WORD
    return Buffer(name=name, region=region, offset=offset, size=SPM, dtype="uint8", shape=(1, SPM),
                  view=(1, words, 1, WORD), perm=(0, 3, 2, 1), nchw=(1, WORD, 1, words),
                  kind="blocked", n_pitch=SPM, block_pitch=SPM, row_pitch=SPM)


def program(name: str, *code: Instruction) -> Program:
    """A program that takes ``x``, and gives what it puts into the parts of OUTPUT."""
    whole = [*code, Instruction(Opcode.END)]
    chain(whole)
    return Program(
        name=name, config=CONFIG, image=assembled(whole),
        instruction_count=len(whole), inputs=[port("x", Region.INPUT)],
        outputs=[port(found, Region.OUTPUT, k * SPM) for k, found in enumerate(FOUND)],
        region_sizes={Region.INPUT: SPM, Region.WORKSPACE: SPM, Region.OUTPUT: 4 * SPM})


def move(opcode: Opcode, region: Region, part: int = 0) -> Instruction:
    """The whole scratchpad to or from a part of a region."""
    return Instruction(opcode, dict(WHOLE, region=region, dram=part * SPM))


def spy(name: str) -> Program:
    """Gives what it finds in the scratchpad, in WORKSPACE and in the last part of OUTPUT, and
    leaves its input in all three."""
    load, store, out = Opcode.LOAD, Opcode.STORE, Region.OUTPUT
    return program(name, move(store, out, 0), move(load, Region.WORKSPACE), move(store, out, 1),
                   move(load, out, 3), move(store, out, 2), move(load, Region.INPUT),
                   move(store, Region.WORKSPACE), move(store, out, 3))


@pytest.mark.parametrize("device", ["golden", "rtl", "chip2_tiny"])
def test_a_tenant_finds_nothing_of_another(tmp_path, device):
    """A tenant's second request finds what its first one left, which says that the spy sees; the
    same program finds nothing of another tenant, nothing of its own after the other's turn, and
    another program of the tenant nothing of the first."""
    sums = {flag: program(flag, Instruction(Opcode.TENSOR, {**SUM, flag: 1}))
            for flag in ("hold", "acc")}
    for p in (spy("spy"), spy("other"), *sums.values()):
        (tmp_path / p.name / "1").mkdir(parents=True)
        p.save(tmp_path / p.name / "1" / "1.mkl")

    async def test(service, _):
        async def found(tenant, secret, model="spy"):
            x = np.full((1, SPM), secret, np.uint8)
            reply = await service.infer(tenant, Request(model, {"x": x}))
            return [set(np.unique(reply.outputs[name]).tolist()) for name in FOUND]

        assert await found(A, 0x5A) == [{0}] * 3
        assert await found(A, 0x77) == [{0x5A}] * 3
        assert await found(B, 0x11) == [{0}] * 3
        assert await found(B, 0x12) == [{0x11}] * 3
        assert await found(A, 0x5A) == [{0}] * 3
        assert await found(A, 0x5B, "other") == [{0}] * 3
        await found(A, 0, "hold")
        with failing(Failure.BROKEN, "'acc' stopped at instruction 0, TENSOR engine: a field"):
            await found(B, 0, "acc")
        assert await found(B, 0x13) == [{0}] * 3

    served(tmp_path, test, [Hardware("d", device, "tiny")], tenants=Tenants((A, B)))
