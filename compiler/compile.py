# SPDX-License-Identifier: Apache-2.0
"""From an ONNX model to a program: the passes in order.

====================  =============================================================================
frontend              static graph, opset 20, constants folded
recurrent             networks of floats only: LSTM, GRU and RNN step after step
quantize              FP32 models only: static quantization with the user's calibration data
spelled               networks with floats: what exporters spell out becomes a node
legalize              quantized operators on NCHW tensors; host edges; shape operators vanish
dead                  operators without a reader go
shift                 requantizations at the same scale go
fuse                  additions become residuals
matrices              matrix products of two tensors become convolutions
caches                tokens of a cache go where they are read, and where they are kept
prepare               what no single instruction can do is rewritten
stem                  space to depth in front of a strided first layer
grid                  tokens become rows of a map
int8_weights          precision w8 only: FP16 weights become INT8
backend               instructions, their order, waits, predicted cycles
====================  =============================================================================

Each pass from graph to graph has a contract (:mod:`compiler.ir.passes`), which is checked after it.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import onnx

from compiler.backend import Backend, Work
from compiler.backend import program as program_of
from compiler.ir.errors import CompileError
from compiler.ir.floats import FLOATS
from compiler.ir.passes import run
from compiler.ir.verify import verify
from compiler.lower import function, normalize, smooth, softmax
from compiler.lower.hosts import check_operators
from compiler.lower.legalize import legalize
from compiler.rewrite.caches import CACHES
from compiler.rewrite.dead import DEAD
from compiler.rewrite.fuse import FUSE
from compiler.rewrite.grid import GRID
from compiler.rewrite.int8_weights import INT8_WEIGHTS
from compiler.rewrite.matrices import MATRICES
from compiler.rewrite.prepare import PREPARE
from compiler.rewrite.shift import SHIFT
from compiler.rewrite.stem import STEM
from compiler.source import frontend, with_nncf
from compiler.source.cache import Lengths, at_lengths, caches
from compiler.source.lengths import check_lengths
from compiler.source.check import check_types
from compiler.source.mixed import KEPT_TYPE, Recipe, by_hand
from compiler.source.quantize import Calibration, attends, is_quantized, quantize, samples
from compiler.source.recurrent import unrolled
from compiler.source.spelled import recognized
from compiler.source.sensitivity import GOAL, Goal, choose
from isa.config import PRECISIONS, Config
from isa.instructions import MOST_RANKS
from isa.program import Program


QUANTIZERS: Mapping[str, Callable[[frontend.Source, Calibration | None, bool],
                                  onnx.ModelProto]] = {
    "ort": lambda *given: quantize(*given)[0], "nncf": with_nncf.quantize}
"""Who quantizes: ONNX Runtime, or NNCF (an extra)."""

ON_FLOATS = {*function.HANDLERS, *normalize.HANDLERS, *smooth.HANDLERS, *softmax.HANDLERS}
"""Operators that the machine computes on floats alone."""


def compile_model(model: onnx.ModelProto | str | Path, config: Config, *,
                  allow_host: Collection[str] = (),
                  calibration: Calibration | None = None,
                  batch: int | None = None, name: str | None = None,
                  precision: str = "int8", quantizer: str = "ort",
                  keep: Mapping[str, str] | None = None,
                  goal: Goal = GOAL, dram_price: float = 0, cores: int = 1,
                  say: Callable[[str], None] = lambda text: None) -> Program:
    """Compile a model for a machine.

    Parameters
    ----------
    model : onnx.ModelProto, str or Path
        A quantized model (QDQ or QOperator, INT8 and UINT8), or an FP32 model with calibration
        data.
    config : Config
        The machine.
    allow_host : collection of str
        ONNX operators that may run on the host at the edges of the graph; ``all`` allows any.
    calibration : dict or list of dicts
        Arrays by input name, to quantize an FP32 model with: float32 with the input's shape; in a
        single dict the first dimension may count several samples.
    batch : int
        Size of a dynamic first dimension (1).
    name : str
        The program's name (the file's or graph's).
    precision : str
        ``int8``, which is ``mixed`` for a transformer on a machine that has floats, and for other
        models with operators that need them and that the host may not run; ``fp16`` or ``bf16``: an
        FP32 model with every activation and weight rounded to that type; ``w8``: ``fp16`` with INT8
        weights where :mod:`compiler.rewrite.int8_weights` makes them; ``mixed``: some layers
        quantized, the others floats.
    quantizer : str
        One of :data:`QUANTIZERS`, for an FP32 model that becomes ``int8``.
    keep : dict of str to str
        Of a mixed FP32 model: layers that are not quantized, and their type. Unless given, the
        fewest that meet the ``goal`` on the calibration data.
    dram_price : float
        What a byte between DRAM and the machine costs beside the cycles that it delays something,
        in the time that the bus takes for it: finite, from 0 on. With 0 the program with the fewest
        predicted cycles is taken; otherwise that with the fewest cycles and bytes at this price.
    cores : int
        That run the network together, from 1 to 16: with more than one, the program is for a
        machine like ``config`` that has ``exchange``.
    say : function of str
        Called with progress.

    Raises
    ------
    CompileError
        If the model is not valid, not quantized, or does not run on the machine; or there is no
        such price or number of cores.
    """
    return next(compile_each(
        model, config, (cores,), allow_host=allow_host, calibration=calibration, batch=batch,
        name=name, precision=precision, quantizer=quantizer, keep=keep, goal=goal,
        dram_price=dram_price, say=say))


def compile_each(model: onnx.ModelProto | str | Path, config: Config, counts: Iterable[int], *,
                 allow_host: Collection[str] = (), calibration: Calibration | None = None,
                 batch: int | None = None, name: str | None = None, precision: str = "int8",
                 quantizer: str = "ort", keep: Mapping[str, str] | None = None, goal: Goal = GOAL,
                 dram_price: float = 0, say: Callable[[str], None] = lambda text: None
                 ) -> Iterator[Program]:
    """The programs of a model for several numbers of cores, each compiled when it is asked for: the
    model is read, quantized and made floats of once. Parameters and errors are those of
    :func:`compile_model`, ``counts`` are numbers of cores."""
    machines = [(cores, _in_gang(config, cores)) for cores in counts]
    check_operators(allow_host)
    _check_price(dram_price)
    if quantizer not in QUANTIZERS or quantizer != "ort" and precision != "int8":
        raise CompileError(f"quantizer {quantizer}", f"there are {', '.join(QUANTIZERS)}, and all "
                           "but ort are for int8 alone", "leave --quantize out")
    front = (_mixed(model, config, allow_host, calibration, batch, name, keep, goal, say)
             if precision == "mixed" else
             _uniform(model, config, allow_host, calibration, batch, name, precision, quantizer,
                      say))
    for cores, machine in machines:
        backend = _backend(front.source, machine, allow_host, front.floats, front.precision,
                           dram_price, cores, say)
        yield replace(program_of([backend]), choices=front.choices)


def compile_decoder(model: onnx.ModelProto | str | Path, config: Config, *,
                    context: int | Sequence[int],
                    prefill: int = 16, allow_host: Collection[str] = (), name: str | None = None,
                    precision: str = "fp16", dram_price: float = 0) -> Program:
    """Compile a decoder whose key-value cache stays on the machine.

    Parameters
    ----------
    model : onnx.ModelProto, str or Path
        An FP32 decoder with its cache as inputs and outputs (:mod:`compiler.source.cache`).
    config : Config
        The machine.
    context : int or sequence of int
        Tokens that the cache holds; rounded up to words. Of several numbers each has entries of its
        own, which read so many slots and no more, for texts that are shorter; the cache holds the
        largest.
    prefill : int
        Tokens of a prompt that an execution takes; rounded up likewise.
    allow_host, name, precision, dram_price
        As for :func:`compile_model`; ``fp16``, ``bf16`` or ``w8``.

    Returns
    -------
    Program
        Two entries for each context: one token, and ``prefill`` tokens.

    Raises
    ------
    CompileError
        If the model is no such decoder, or does not run on the machine.
    """
    check_operators(allow_host)
    _check_price(dram_price)
    _check_precision(precision, config)
    floats = FLOATS.get(PRECISIONS[precision], "")
    if not floats:
        raise CompileError(f"precision {precision}", "the machine keeps caches of floats",
                           f"use one of {', '.join(FLOATS)}, w8")
    contexts = [context] if isinstance(context, int) else list(context)
    if min(contexts, default=0) < 1 or prefill < 1:
        raise CompileError(f"context {context}, prefill {prefill}", "there is no token in it",
                           "use numbers from 1 on")
    read, where = frontend.read(model, name)
    found = caches(read, where)
    per = config.lanes // 2     # slots begin and end with words, whichever way they lie
    most, backends = -(-prefill // per) * per, []
    sizes = sorted({-(-size // per) * per for size in contexts})
    entries = [Lengths(tokens, size, most, sizes[-1] + most)
               for size in sizes for tokens in (1, most)]
    check_lengths(read, found, entries[0], where)
    for lengths in entries:
        fixed = at_lengths(read, found, lengths)
        source = unrolled(frontend.load(fixed, name=where), allow_host)
        source.caches, source.lengths = found, lengths
        backends.append(_backend(source, config, allow_host, floats, precision, dram_price))
    return program_of(backends)


def _check_price(dram_price: float) -> None:
    if not 0 <= dram_price < math.inf:
        raise CompileError(f"DRAM price {dram_price}", "it is no price of a byte",
                           "use a number from 0 on")


def _in_gang(config: Config, cores: int) -> Config:
    """The machine of which so many run a network together."""
    if not 1 <= cores <= MOST_RANKS:
        raise CompileError(f"{cores} cores", f"a network runs on 1 to {MOST_RANKS} together",
                           f"use a number from 1 to {MOST_RANKS}")
    if cores == 1 or config.exchange:
        return config
    return replace(config, name=f"{config.name} with exchange", exchange=True)


def _check_precision(precision: str, config: Config) -> None:
    if PRECISIONS.get(precision) not in config.dtypes:
        raise CompileError(f"precision {precision}", f"the machine {config.name!r} computes with "
                           f"{', '.join(config.dtypes)} alone", "use one of these, or a machine "
                           f"that has it: --config {config.name.removesuffix('_fp')}_fp"
                           if precision in PRECISIONS
                           else f"use one of {', '.join(PRECISIONS)}")


class _Front(NamedTuple):
    """A model as the rest of the compiler takes it: ``floats`` is the type of what is not
    quantized, or nothing; ``choices`` as :attr:`Program.choices`."""

    source: frontend.Source
    floats: str
    precision: str
    choices: list[dict[str, Any]]


def _uniform(model: onnx.ModelProto | str | Path, config: Config, allow_host: Collection[str],
             calibration: Calibration | None, batch: int | None, name: str | None,
             precision: str, quantizer: str, say: Callable[[str], None]) -> _Front:
    """A quantized model, or an FP32 model of which all becomes one type; but for what the host may
    not run and the machine only runs in floats."""
    _check_precision(precision, config)
    source = frontend.load(model, batch, name)
    if not allow_host:
        check_types(source.model, source.constants)
    floats = FLOATS.get(PRECISIONS[precision], "")
    if floats and is_quantized(source.model):
        raise CompileError(source.name, f"it is quantized, and {precision} is for FP32 models",
                           "give the FP32 model, or leave --precision out")
    if floats:
        source = unrolled(source, allow_host)
    else:
        islands = KEPT_TYPE in config.dtypes and attends(source)
        if not is_quantized(source.model):
            source = frontend.load(QUANTIZERS[quantizer](source, calibration, islands), batch,
                                   source.name)
        if islands or KEPT_TYPE in config.dtypes and any(
                n.op_type in ON_FLOATS and not {n.op_type, "all"} & set(allow_host)
                for n in source.nodes):
            say(f"what is not quantized is computed in {KEPT_TYPE}")
            source, floats, precision = unrolled(source, allow_host), FLOATS[KEPT_TYPE], "mixed"
    return _Front(source, floats, precision, [])


def _mixed(model: onnx.ModelProto | str | Path, config: Config, allow_host: Collection[str],
           calibration: Calibration | None, batch: int | None, name: str | None,
           keep: Mapping[str, str] | None, goal: Goal, say: Callable[[str], None]) -> _Front:
    """A quantized model whose other layers are floats, or an FP32 model of which as many are."""
    source = unrolled(frontend.load(model, batch, name), allow_host)
    if is_quantized(source.model):
        if keep:
            raise CompileError(source.name, "it is quantized, and layers are kept of FP32 models",
                               "give the FP32 model")
        return _Front(source, _numbers(KEPT_TYPE, config), "mixed", [])
    recipe = Recipe.of(*quantize(source, calibration))
    if keep is not None:
        floats, choices = by_hand(recipe, keep)
    else:
        assert calibration is not None
        floats, choices = KEPT_TYPE, choose(recipe, list(samples(source, calibration)), goal, say)
    floats = _numbers(floats, config)
    kept = [row["layer"] for row in choices if row["type"] != "int8"]
    source = frontend.load(recipe.compose(kept), batch, source.name)
    return _Front(source, floats, "mixed", choices)


def _numbers(precision: str, config: Config) -> str:
    if precision not in config.dtypes:
        raise CompileError("precision mixed", f"the machine {config.name!r} has no {precision}",
                           f"use a machine that has it: --config {config.name}_fp")
    return FLOATS[precision]


PASSES = (DEAD, SHIFT, FUSE)
"""From graph to graph, whatever the machine."""

MACHINE_PASSES = (MATRICES, CACHES, PREPARE, STEM, GRID)
"""The same for one machine."""


def _backend(source: frontend.Source, config: Config, allow_host: Collection[str], floats: str,
             precision: str, dram_price: float, cores: int = 1,
             say: Callable[[str], None] = lambda text: None) -> Backend:
    if floats:
        source = recognized(source)
    legal = legalize(source, allow_host, floats)
    verify(legal.graph)
    graph = run(PASSES, legal.graph, config)
    work = Work.of(graph)
    graph = run(MACHINE_PASSES, graph, config)
    if precision == "w8":
        graph = run((INT8_WEIGHTS,), graph, config)
        work = work.narrowed(graph)
    return Backend(source, legal, graph, config, work, precision, dram_price, cores, say)
