# SPDX-License-Identifier: Apache-2.0
"""How tokens go through a layer: rows of a map, scores head by head, normalizations between the
boxes of the product in front of them; and that none of it changes a bit."""

from dataclasses import replace

import numpy as np
import pytest

from compiler import compile_model
from compiler.emit import choose, rows
from compiler.ir.graph import Concat, Conv, Graph, Rows
from compiler.ir.passes import run as run_passes
from compiler.lower.legalize import legalize
from compiler.rewrite.grid import GRID
from compiler.rewrite.matrices import MATRICES
from compiler.source.frontend import load
from isa.config import Config
from isa.instructions import Opcode
from isa.presets import PRESETS
from runtime.golden_device import GoldenDevice
from runtime.session import Session
from tests.compiler.models import Net, onnxruntime
from tests.compiler.test_matrices import attention

TOKENS, WIDTH, HEADS = 24, 32, 2


def layer(tokens: int = TOKENS, heads: int = HEADS, width: int = WIDTH):
    """Attention with a mask for each query and key, and a feed-forward part, normalized behind each
    sum as in BERT."""
    net, rng = Net(), np.random.default_rng(tokens)

    def dense(v: str, n: int, m: int) -> str:
        w = (rng.standard_normal((n, m)) / np.sqrt(n)).astype(np.float32)
        return net.op("MatMul", v, net.constant(w))

    def norm(v: str) -> str:
        return net.op("LayerNormalization", v, *(net.constant(
            rng.standard_normal(width).astype(np.float32)) for _ in range(2)), axis=-1)

    x = net.input("x", "float32", (1, tokens, width))
    h = norm(net.op("Add", x, dense(attention(net, x, heads, width, rng), width, width)))
    y = norm(net.op("Add", h, dense(net.op("Gelu", dense(h, width, 2 * width)), 2 * width, width)))
    return net.model(y, kind="float32"), {
        "x": rng.standard_normal((1, tokens, width)).astype(np.float32)}


def machine_graph(config: Config, tokens: int = TOKENS) -> Graph:
    """After the passes that concern tokens."""
    return run_passes((MATRICES, GRID), legalize(load(layer(tokens)[0]), (), "float16").graph,
                      config)


def result(config: Config) -> np.ndarray:
    model, inputs = layer()
    program = compile_model(model, config, precision="fp16")
    return next(iter(Session(program, GoldenDevice(program.config)).run(inputs).values()))


def test_tokens_are_rows_of_a_map() -> None:
    graph = machine_graph(PRESETS["core256_fp"])
    assert {op.y.nchw[2:] for op in graph.ops if isinstance(op, Rows)} == {(3, 8)}
    assert {op.y.nchw[2:] for op in machine_graph(PRESETS["core256_fp"], 13).ops
            if isinstance(op, Rows)} == {(13, 1)}


def test_scores_exist_for_one_head_at_a_time() -> None:
    """Each head's softmax is an operator of its own, and nothing puts the scores side by side."""
    graph = machine_graph(PRESETS["core256_fp"])
    softmax = [op for op in graph.ops if isinstance(op, Rows) and not op.norm]
    assert [op.y.nchw[1] for op in softmax] == [TOKENS] * HEADS
    joined = [op for op in graph.ops if isinstance(op, Concat)]
    assert [op.y.nchw[1] for op in joined] == [WIDTH]      # what attention gives
    readers = [op for op in graph.ops if isinstance(op, Conv) and op.matrix
               and any(op.x is s.y for s in softmax)]
    assert len(readers) == HEADS


def test_a_head_has_queries_keys_and_values_of_its_own() -> None:
    """Each is made right in front of what reads it first, and by itself."""
    graph = machine_graph(PRESETS["core256_fp"])
    makers = {op.y: i for i, op in enumerate(graph.ops)}
    scores = [op for op in graph.ops if isinstance(op, Conv) and op.matrix and op.counted
              and op.y.nchw[1] == TOKENS]
    assert len(scores) == HEADS
    for op in scores:
        assert op.matrix is not None
        for operand in (op.x, op.matrix.x):
            maker = graph.ops[makers[operand]]
            assert isinstance(maker, Conv) and maker.counted
            assert maker.y.nchw[1] == WIDTH // HEADS == maker.weight.shape[0] == len(maker.bias)
            assert 0 < makers[op.y] - makers[operand] <= 2


@pytest.mark.parametrize("token", [0, 5, 12])
def test_a_token_is_picked_from_rows(token: int) -> None:
    """A classifier reads one of them; the others are in rows all the same."""
    net, rng = Net(), np.random.default_rng(token)
    x = net.input("x", "float32", (1, 15, WIDTH))
    gain = net.constant(np.ones(WIDTH, np.float32))
    h = net.op("LayerNormalization", x, gain, axis=-1)
    one = net.op("Gather", h, net.constant(np.array(token)), axis=1)
    w = rng.standard_normal((WIDTH, 8)).astype(np.float32) / 8
    model = net.model(net.op("MatMul", one, net.constant(w)), kind="float32")
    inputs = {"x": rng.standard_normal((1, 15, WIDTH)).astype(np.float32)}
    config = PRESETS["core256_fp"]
    graph = run_passes((MATRICES, GRID), legalize(load(model), (), "float16").graph, config)
    assert [op.y.nchw[2:] for op in graph.ops if isinstance(op, Rows)] == [(3, 5)]
    program = compile_model(model, config, precision="fp16")
    got, = Session(program, GoldenDevice(config)).run(inputs).values()
    np.testing.assert_allclose(got, onnxruntime(model, inputs)[0], atol=2 ** -7)


def test_gelu_overwrites_what_it_reads() -> None:
    """The boxes of the product in front of it do not go to DRAM and back."""
    net, rng = Net(), np.random.default_rng(0)
    x = net.input("x", "float32", (1, 512, 64))
    w = net.constant(rng.standard_normal((64, 512)).astype(np.float32) / 8)
    model = net.model(net.op("Gelu", net.op("MatMul", x, w)), kind="float32")
    program = compile_model(model, PRESETS["tiny_fp"], precision="fp16")
    words = program.config.word_bytes
    stored = sum(i.n0 * i.n1 * i.n2 * i.n3 for i in program.instructions()
                 if i.opcode is Opcode.STORE)
    assert stored * words == 512 * 512 * 2 > program.config.spm_bytes


def test_a_normalization_follows_the_boxes_in_front_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is emitted between them where they hold all channels, and gives what it does alone."""
    config = PRESETS["core256_fp"]
    seen: list[tuple[int, int]] = []
    emit = rows.RowsEmitter.rows

    def counted(self, low: int, high: int) -> None:
        seen.append((low, high))
        emit(self, low, high)

    monkeypatch.setattr(rows.RowsEmitter, "rows", counted)
    monkeypatch.setattr(choose, "rows_cycles", lambda s, op: 10 ** 6)
    between = result(config)
    assert any(high - low < TOKENS // 8 for low, high in seen)
    monkeypatch.setattr(choose, "rows_cycles", lambda s, op: -10 ** 6)
    seen.clear()
    np.testing.assert_array_equal(result(config), between)
    assert not any(high - low < TOKENS // 8 for low, high in seen)


@pytest.mark.parametrize("name", ["tiny_fp", "ecp5_fp", "core256_fp", "core1024_fp"])
def test_the_result_does_not_depend_on_the_tiling(name: str) -> None:
    """The same bits with scratchpads of any size and PSUM banks of any depth: no split of keys,
    tokens or channels changes a sum, a maximum or a rounding."""
    preset, seen = PRESETS[name], set()
    for words in (2048, 4096, 16384):
        for depth in (8, 32):
            config = replace(preset, spm_bytes=words * preset.lanes, psum_depth=depth)
            model, inputs = layer()
            program = compile_model(model, config, precision="fp16")
            out, = Session(program, GoldenDevice(config)).run(inputs).values()
            seen.add((program.image, out.tobytes()))
    assert len({image for image, _ in seen}) >= 3
    assert len({out for _, out in seen}) == 1
