# SPDX-License-Identifier: Apache-2.0
"""A decoder whose cache stays on the golden model, against ONNX Runtime, which knows no fixed
length and has all tokens at once."""

import functools
from dataclasses import replace

import numpy as np
import onnx
import pytest

from compiler.compile import compile_decoder
from isa.instructions import Fault
from isa.presets import PRESETS
from isa.program import Program, ProgramError
from runtime.device import DeviceFault
from runtime.generator import Generator, choose
from runtime.golden_device import GoldenDevice
from runtime.ports import InputError
from runtime.session import Session
from tests.compiler.decoder import decoder, reference, sqnr

CONTEXT, PREFILL = 24, 8
IDS = [int(v) for v in np.random.default_rng(3).integers(0, 24, CONTEXT)]


@functools.cache
def compiled(config: str = "tiny_fp", heads: int = 2, width: int = 8, groups: int = 1,
             layers: int = 1) -> tuple[onnx.ModelProto, Program]:
    model = decoder(heads, width, layers, groups=groups)
    return model, compile_decoder(model, PRESETS[config], context=CONTEXT, prefill=PREFILL,
                                  allow_host=("all",))


def generator(program: Program | None = None) -> Generator:
    program = program or compiled()[1]
    return Generator(program, GoldenDevice(program.config))


@pytest.mark.parametrize(("config", "heads", "width", "groups", "layers"), [
    ("tiny_fp", 2, 8, 1, 2), ("tiny_fp", 3, 4, 1, 1), ("core256_fp", 4, 16, 2, 1),
    ("core256_fp", 2, 12, 1, 1), ("core1024_fp", 2, 32, 1, 1)])
@pytest.mark.parametrize("prompt", [1, 5, 8, 13])
def test_as_onnx_runtime_with_all_tokens_at_once(config: str, heads: int, width: int, groups: int,
                                                 layers: int, prompt: int) -> None:
    model, program = compiled(config, heads, width, groups, layers)
    want = reference(model, IDS)
    g = generator(program)
    got = [g.prefill(IDS[:prompt])]
    got += [g.decode(token) for token in IDS[prompt:]]
    assert g.length == CONTEXT
    assert sqnr(np.array(got), want[prompt - 1:]) > 50


@pytest.mark.parametrize("config", ["tiny_fp", "core256_fp"])
def test_a_prompt_behind_others(config: str) -> None:
    model, program = compiled(config)
    want, g = reference(model, IDS), generator(program)
    for first, last in ((0, 3), (3, 14), (14, 15), (15, 24)):
        assert sqnr(g.prefill(IDS[first:last]), want[last - 1]) > 50


def test_lengths_are_rounded_up_to_words() -> None:
    model = decoder()
    program = compile_decoder(model, PRESETS["core256_fp"], context=19, prefill=1,
                              allow_host=("all",))
    g = generator(program)
    assert g.context == CONTEXT and {len(p.inputs) for p in (program, *program.entries)} == {3}
    assert sqnr(g.prefill(IDS), reference(model, IDS)[-1]) > 50


def test_caches_that_are_written_into() -> None:
    """TensorScatter is another spelling of the same: every bit is that of Concat."""
    model = decoder(groups=2, scatter=True)
    program = compile_decoder(model, PRESETS["tiny_fp"], context=CONTEXT, prefill=PREFILL,
                              allow_host=("all",))
    machines = generator(program), generator(compiled(groups=2)[1])
    got, other = ([g.prefill(IDS[:11]), *map(g.decode, IDS[11:])] for g in machines)
    assert np.array_equal(got, other)
    assert sqnr(np.array(got), reference(model, IDS)[10:]) > 50


def test_a_reset_forgets() -> None:
    g = generator()
    first = g.prefill(IDS[:5])
    g.decode(7)
    g.reset()
    assert g.length == 0 and np.array_equal(g.prefill(IDS[:5]), first)


def test_a_file_has_all_of_it() -> None:
    program = compiled()[1]
    again = Program.from_bytes(program.to_bytes())
    assert again == program and len(again.entries) == 1 and again.entries[0].image is again.image
    assert np.array_equal(generator(again).prefill(IDS[:9]), generator().prefill(IDS[:9]))


@pytest.mark.parametrize(("ids", "message"), [
    ([], "no token to begin with"), ([3, 24], "24 is none"), ([-1], "-1 is none"),
    ([0.5], "a row of integers"), ([[1, 2]], "a row of integers"),
    (IDS[:5] * 5, "room for 24 tokens, of which 2 are taken: 25 more")])
def test_refused_and_nothing_lost(ids: list, message: str) -> None:
    model = compiled()[0]
    g = generator()
    g.prefill(IDS[:2])
    with pytest.raises(InputError, match=message):
        g.prefill(ids)
    assert g.length == 2 and sqnr(g.decode(IDS[2]), reference(model, IDS[:3])[-1]) > 50


def test_a_full_cache() -> None:
    g = generator()
    g.prefill(IDS)
    with pytest.raises(InputError, match="24 are taken: 1 more"):
        g.decode(0)


def test_another_program_was_loaded() -> None:
    g = generator()
    g.prefill(IDS[:4])
    g.device.load(replace(compiled()[1]))
    with pytest.raises(ProgramError, match="not what the machine has loaded"):
        g.decode(1)
    with pytest.raises(ProgramError, match="lost its cache"):
        g.decode(1)
    g.reset()
    g.decode(1)


def test_a_fault_loses_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    g = generator()

    def fault(inputs: np.ndarray) -> None:
        raise DeviceFault(g.program, Fault.AXI_SLVERR, 0)
    with monkeypatch.context() as m, pytest.raises(DeviceFault):
        m.setattr(g.device, "execute", fault)
        g.prefill([1])
    with pytest.raises(ProgramError, match="lost its cache"):
        g.prefill([1])


def test_a_session_refuses_it() -> None:
    program = compiled()[1]
    with pytest.raises(ProgramError, match="Generator"):
        Session(program, GoldenDevice(program.config))


def test_a_program_without_a_cache_is_refused() -> None:
    program = replace(compiled()[1], patches=[])
    with pytest.raises(ProgramError, match="not a decoder with a cache"):
        generator(program)


def test_greedy_and_by_chance() -> None:
    g = generator()
    greedy = list(g.tokens(IDS[:3], 6))
    want = reference(compiled()[0], IDS[:3] + greedy)[2:-1].argmax(axis=1)
    assert greedy == want.tolist() and g.length == 3 + 5
    drawn = []
    for seed in (1, 1, 2):
        g.reset()
        drawn.append(list(g.tokens(IDS[:3], 12, temperature=2.0, seed=seed)))
    assert drawn[0] == drawn[1] != drawn[2]


def test_room_is_asked_for_first() -> None:
    g = generator()
    with pytest.raises(InputError, match="25 more do not fit"):
        next(g.tokens(IDS[:4], 22))
    assert g.length == 0


def test_chances_are_those_of_the_logits() -> None:
    logits = np.log(np.array([0.5, 0.25, 0.25], np.float32)) + 90
    chance = np.random.default_rng(0)
    drawn = np.bincount([choose(logits, 1.0, chance) for _ in range(4000)], minlength=3)
    assert np.allclose(drawn / 4000, [0.5, 0.25, 0.25], atol=0.03)
    cold = [choose(logits, 1e-3, chance) for _ in range(50)]
    assert set(cold) == {0}


@pytest.mark.parametrize(("config", "heads", "width", "groups"), [
    ("tiny_fp", 2, 8, 1), ("tiny_fp", 3, 4, 1), ("core256_fp", 4, 16, 2), ("core256_fp", 2, 12, 1)])
def test_short_texts_read_few_slots(config: str, heads: int, width: int, groups: int) -> None:
    model = decoder(heads, width, 1, groups=groups)
    program = compile_decoder(model, PRESETS[config], context=(8, 24, 16), prefill=8,
                              allow_host=("all",))
    g, want = generator(program), reference(model, IDS)
    assert g.context == CONTEXT and len(program.entries) == 5
    got = [g.prefill(IDS[:5])]
    slots = [g.runs[0].entry]
    for token in IDS[5:20]:
        got.append(g.decode(token))
        slots.append(g.runs[0].entry)
    got.append(g.prefill(IDS[20:]))
    assert sqnr(np.array(got), want[[*range(4, 20), 23]]) > 50
    order = [program, *program.entries]     # of each context one token, and several
    assert [order.index(e) for e in slots] == [1] + [0] * 3 + [2] * 8 + [4] * 4
