# SPDX-License-Identifier: Apache-2.0
"""The machine on its buses: registers, programs of LOAD and STORE, faults, recovery.

Runs inside the simulator; test_machine.py builds the design and starts it.
"""

import random
from types import SimpleNamespace

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiResp

from isa.instructions import UNIT_BYTES, Fault, Instruction, Opcode, Region, assembled
from isa.registers import IDENT, OFFSET
from tests.cocotb.bench import BASES, MEMORY_BYTES, SIZES, Bench
from tests.hw.memory.dma_bench import copy

DONE, ERROR = 1, 2


def load(**fields):
    return Instruction(Opcode.LOAD, {"region": Region.INPUT, "n0": 1, "n1": 1, "n2": 1, "n3": 1,
                                     **fields})


def store(**fields):
    return Instruction(Opcode.STORE, {"region": Region.OUTPUT, "n0": 1, "n1": 1, "n2": 1, "n3": 1,
                                      **fields})


def copies(rng: random.Random, word: int, strips: int, words: int) -> list[Instruction]:
    """LOADs and STOREs that take turns in strips of the scratchpad, ordered by waits alone. The
    strip of copy k is used again by copy k + strips, which waits until it has been stored."""
    program = []
    for k in range(2 * strips):
        strip = k % strips * words
        n0, n1 = rng.randint(1, words // 4), rng.randint(1, 4)
        wait = {"wait_mask": 1 << 4, "wait_store": k - strips + 1} if k >= strips else {}
        program.append(load(
            dram=rng.randint(0, 64) * word, spm=strip, n0=n0, n1=n1, spm_stride1=n0,
            dram_stride1=rng.randint(0, 2 * n0) * word, **wait))
        program.append(store(
            dram=k * words * word, spm=strip, n0=n1, n1=n0, spm_stride1=n1, dram_stride1=n1 * word,
            wait_mask=1, wait_load=k + 1))
    return program


async def check(bench: Bench, program: list[Instruction]) -> None:
    before = bench.memory()
    spm = np.zeros((bench.config.spm_words, bench.config.word_bytes), np.uint8)
    assert await bench.run(program) == DONE
    image = assembled([*program, Instruction(Opcode.END)])
    at = BASES[Region.PROGRAM]
    before[at:at + len(image)] = np.frombuffer(image, np.uint8)
    copy(program, before, spm, BASES)
    np.testing.assert_array_equal(bench.memory(), before)
    assert await bench.get("STATUS") == 0b1010
    assert await bench.get("INSTRUCTIONS") == len(program)


@cocotb.test()
async def registers(dut):
    bench = Bench(dut, stall=0.4)
    await bench.reset()
    assert await bench.get("IDENT") == IDENT
    assert await bench.get("CONFIG_HASH") == bench.config.hash
    assert await bench.get("STATUS") == 0b1000
    await bench.set("REGION2_SIZE", 0x1234_5678_9ABC_DEF3)
    assert await bench.get("REGION2_SIZE") == 0x1234_5678_9ABC_DEE0
    await bench.set("PROGRAM", 0xFFFF)
    assert await bench.get("PROGRAM") == 0xFF80
    await bench.host.write(OFFSET["WATCHDOG"] + 1, b"\xab")
    assert await bench.get("WATCHDOG") == 0xAB00
    await bench.set("IDENT", 0)
    assert await bench.get("IDENT") == IDENT
    assert await bench.host.read_dword(0xFFC) == 0
    await bench.set("DOORBELL", 0)
    assert await bench.get("STATUS") == 0b1000


@cocotb.test()
@cocotb.parametrize(stall=[0.0, 0.4])
async def copies_ordered_by_waits(dut, stall):
    bench = Bench(dut, stall=stall, seed=5)
    await bench.reset()
    await bench.regions()
    word = bench.config.word_bytes
    program = copies(random.Random(7), word, 4, min(128, SIZES[Region.OUTPUT] // word // 8))
    await check(bench, program)
    await check(bench, program[:7])


@cocotb.test()
async def bandwidth(dut):
    """A load and a store of the largest run: bytes a cycle, as the bus sees them."""
    bench = Bench(dut)
    await bench.reset()
    await bench.regions()
    words = min(bench.config.spm_words, 0x4000 // bench.config.word_bytes) // 2
    for name, instruction in (("LOAD", load(n0=words)), ("STORE", store(n0=words))):
        assert await bench.run([instruction]) == DONE
        cycles = await bench.get("CYCLES")
        moved = words * bench.config.word_bytes
        dut._log.info("%s: %d bytes in %d cycles, %.2f bytes a cycle, in a program of one", name,
                      moved, cycles, moved / cycles)
        assert cycles <= 1.3 * moved / bench.config.bus_bytes + 120


@cocotb.test()
async def faults_name_code_and_instruction(dut):
    bench = Bench(dut, stall=0.2)
    await bench.reset()
    await bench.regions()
    word, spm = bench.config.word_bytes, bench.config.spm_words
    size = SIZES[Region.OUTPUT]
    good = [load(n0=16), store(n0=16, wait_mask=1, wait_load=1)]
    huge = {"n1": 4095, "n2": 4095, "n3": 4095, "dram_stride1": 0x7FFF_FFF0 // word * word,
            "dram_stride2": 0x7FFF_FFF0 // word * word, "dram_stride3": -(1 << 31)}
    cases = [
        (Fault.DRAM_RANGE, load(dram=size - word, n0=2)),
        (Fault.DRAM_RANGE, store(dram=size - word, n1=2, dram_stride1=word)),
        (Fault.DRAM_RANGE, load(n1=2, dram_stride1=-word)),
        (Fault.DRAM_RANGE, store(region=Region.INPUT)),
        (Fault.DRAM_RANGE, store(region=Region.PROGRAM)),
        (Fault.DRAM_RANGE, load(**huge)),
        (Fault.SPM_RANGE, load(spm=spm - 1, n0=2)),
        (Fault.SPM_RANGE, store(spm=3, n1=2, spm_stride1=-4)),
        (Fault.BAD_FIELD, load(n0=0)),
        (Fault.BAD_FIELD, store(n3=0)),
        (Fault.BAD_FIELD, load(dram=1)),
        (Fault.BAD_FIELD, store(dram_stride2=2)),
        (Fault.ILLEGAL_OPCODE, SimpleNamespace(encode=lambda: b"\xff" + bytes(127))),
    ]
    for code, bad in cases:
        program = [*good, bad, *good]
        before = bench.memory()
        assert await bench.run(program) == ERROR, bad
        assert (await bench.get("ERROR_CODE"), await bench.get("ERROR_INDEX")) == (code, 2), bad
        assert await bench.get("STATUS") & 0b0111 == 0b0100
        await bench.set("DOORBELL", 1)
        assert await bench.get("STATUS") & 1 == 0
        await bench.recover()
        assert await bench.get("ERROR_CODE") == 0
        changed = np.flatnonzero(before != bench.memory())
        out, code_at = BASES[Region.OUTPUT], BASES[Region.PROGRAM]
        assert all(out <= a < out + size or code_at <= a < code_at + 0x1000 for a in changed)
    await check(bench, good)


@cocotb.test()
async def a_region_at_the_end_of_the_address_space(dut):
    bench = Bench(dut)
    await bench.reset()
    await bench.regions()
    base = (1 << bench.config.addr_bits) - 32
    await bench.set("REGION2_BASE", base)
    word = bench.config.word_bytes
    assert await bench.run([load(n0=32 // word)]) == DONE
    assert bench.watcher.bursts["ar"][-2][0] in range(base, base + 32) \
        or any(a >= base for a, _ in bench.watcher.bursts["ar"])
    assert await bench.run([load(dram=32 - word, n0=2)]) == ERROR
    assert await bench.get("ERROR_CODE") == Fault.DRAM_RANGE
    await bench.recover()
    await bench.set("REGION2_BASE", 1 << 63)
    assert await bench.run([load()]) == ERROR
    assert await bench.get("ERROR_CODE") == Fault.DRAM_RANGE
    assert all(a < MEMORY_BYTES or a >= base for a, _ in bench.watcher.bursts["ar"])


@cocotb.test()
@cocotb.parametrize(stall=[0.0, 0.4])
async def error_responses(dut, stall):
    bench = Bench(dut, stall=stall)
    await bench.reset()
    await bench.regions()
    word = bench.config.word_bytes
    words = 4 * 1024 // word
    program = [load(n0=words), store(n0=words, wait_mask=1, wait_load=1),
               load(dram=4096, n0=words, wait_mask=1 << 4, wait_store=1),
               store(dram=4096, n0=words, wait_mask=1, wait_load=2)]
    spots = [(BASES[Region.INPUT] + 4096 + 700, 2), (BASES[Region.OUTPUT] + 300, 1),
             (BASES[Region.OUTPUT] + 8191, 3), (BASES[Region.PROGRAM] + 2 * 32 + 5, 2)]
    for at, index in spots:
        for resp, code in ((AxiResp.SLVERR, Fault.AXI_SLVERR), (AxiResp.DECERR, Fault.AXI_DECERR)):
            bench.errors = {at: resp}
            assert await bench.run(program) == ERROR
            assert (await bench.get("ERROR_CODE"), await bench.get("ERROR_INDEX")) == (code, index)
            await bench.recover()
    bench.errors = {}
    await check(bench, program)


@cocotb.test()
async def a_program_without_end_and_errors_behind_the_end(dut):
    bench = Bench(dut)
    await bench.reset()
    await bench.regions(PROGRAM=0x200)
    full = 0x200 // UNIT_BYTES      # instructions of a unit each, up to the end of the region
    assert await bench.run([load()] * full, ends=False) == ERROR
    assert (await bench.get("ERROR_CODE"), await bench.get("ERROR_INDEX")) == (
        Fault.DRAM_RANGE, full)
    await bench.recover()
    bench.errors = {BASES[Region.PROGRAM] + 0x180: AxiResp.DECERR}
    for _ in range(3):
        assert await bench.run([load()] * 2) == DONE
        assert await bench.get("INSTRUCTIONS") == 2
    bench.errors = {}
    assert await bench.run([load()] * (full // 2), at=0x100, ends=False) == ERROR
    assert (await bench.get("ERROR_CODE"), await bench.get("ERROR_INDEX")) == (
        Fault.DRAM_RANGE, full // 2)
    await bench.recover()
    assert await bench.run([load()], at=0x100) == DONE


@cocotb.test()
async def watchdog_and_lock_up(dut):
    """An instruction that waits for more than there is; the one before it is named by nobody."""
    bench = Bench(dut)
    await bench.reset()
    await bench.regions()
    await bench.set("WATCHDOG", 600)
    program = [load(), load(wait_mask=2, wait_tensor=1), load(), store()]
    assert await bench.run(program) == ERROR
    assert (await bench.get("ERROR_CODE"), await bench.get("ERROR_INDEX")) == (Fault.WATCHDOG, 1)
    assert 600 <= await bench.get("CYCLES") < 1000
    await bench.recover()
    assert await bench.get("WATCHDOG") == 600
    assert await bench.run([load(), store()]) == DONE


@cocotb.test()
async def reset_in_the_middle_of_traffic(dut):
    """At any time: the bus stays legal, settings survive, and the next program is right."""
    bench = Bench(dut, stall=0.2, seed=1)
    await bench.reset()
    await bench.regions()
    word = bench.config.word_bytes
    words = 4096 // word
    program = [load(n0=words)] + [
        i for k in range(9)
        for i in (store(dram=4096 * (k % 3), n0=words), load(dram=64 * k, n0=words))]
    for wait in range(40, 800, 95):
        image = assembled([*program, Instruction(Opcode.END)])
        bench.ram.write(BASES[Region.PROGRAM], image)
        await bench.set("DOORBELL", 1)
        await ClockCycles(dut.clk, wait)
        assert await bench.get("STATUS") & 1
        await bench.recover()
    assert await bench.get("REGION1_SIZE") == SIZES[Region.WORKSPACE]
    await check(bench, copies(random.Random(1), word, 2, 64))
