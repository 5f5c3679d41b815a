# SPDX-License-Identifier: Apache-2.0
"""Attention and blocks of transformers as both of PyTorch's exporters write them: nothing is left
to the host, what is spelled out is recognized, and the results are PyTorch's."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from compiler import compile_model
from compiler.source.frontend import load
from compiler.source.spelled import recognized
from isa.presets import PRESETS
from runtime.golden_device import GoldenDevice
from runtime.session import Session

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional

TOKENS, WIDTH, HEADS = 12, 32, 4
SIZE = WIDTH // HEADS
LEAST = 55
"""dB of the results against PyTorch's."""


def heads(x, count=HEADS):
    return x.view(*x.shape[:2], count, SIZE).transpose(1, 2)


class Attention(nn.Module):
    """Merged projections around torch's own attention."""

    def __init__(self, kind="", groups=HEADS):
        super().__init__()
        self.kind, self.groups = kind, groups
        self.into = nn.Linear(WIDTH, WIDTH + 2 * groups * SIZE)
        self.out = nn.Linear(WIDTH, WIDTH)
        allowed = torch.rand(TOKENS, TOKENS) < 0.6
        allowed[2] = kind != "infinite"
        self.register_buffer("allowed", allowed)

    def forward(self, x, mask=None):
        sizes = [WIDTH, self.groups * SIZE, self.groups * SIZE]
        q, k, v = self.into(x).split(sizes, -1)
        at = {"is_causal": self.kind == "causal", "enable_gqa": self.groups < HEADS}
        if self.kind == "constant":
            at["attn_mask"] = self.allowed
        elif self.kind == "infinite":
            at["attn_mask"] = torch.where(self.allowed, 0.0, -math.inf)
        elif mask is not None:
            at["attn_mask"] = mask[:, None, None, :]
        y = F.scaled_dot_product_attention(heads(q), heads(k, self.groups),
                                           heads(v, self.groups), **at)
        return self.out(y.transpose(1, 2).reshape(x.shape))


class Root(nn.Module):
    """RMSNorm by hand."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(WIDTH) + 0.5)

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


def rotated(x, angles):
    low, high = x.chunk(2, -1)
    return x * angles.cos() + torch.cat((-high, low), -1) * angles.sin()


class Llama(nn.Module):
    """RMSNorm, rotated embeddings, grouped queries and SwiGLU."""

    def __init__(self, groups=2):
        super().__init__()
        self.first, self.second, self.groups = Root(), Root(), groups
        self.q, self.o = (nn.Linear(WIDTH, WIDTH, False) for _ in range(2))
        self.k, self.v = (nn.Linear(WIDTH, groups * SIZE, False) for _ in range(2))
        self.gate, self.up = (nn.Linear(WIDTH, 44, False) for _ in range(2))
        self.down = nn.Linear(44, WIDTH, False)
        speeds = 1e-4 ** (torch.arange(0, SIZE, 2) / SIZE)
        self.register_buffer("angles", torch.outer(torch.arange(float(TOKENS)),
                                                   speeds).repeat(1, 2))

    def forward(self, x):
        h = self.first(x)
        q, k = rotated(heads(self.q(h)), self.angles), heads(self.k(h), self.groups)
        k, v = (t[:, :, None].expand(-1, -1, HEADS // self.groups, -1, -1).reshape(
            -1, HEADS, TOKENS, SIZE) for t in (rotated(k, self.angles),
                                               heads(self.v(h), self.groups)))
        scores = q @ k.transpose(-1, -2) / math.sqrt(SIZE)
        scores = scores + torch.full((TOKENS, TOKENS), -math.inf).triu(1)
        x = x + self.o((scores.softmax(-1) @ v).transpose(1, 2).reshape(x.shape))
        h = self.second(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Gpt2(nn.Module):
    """Normalization in front, one projection for all three, a mask of booleans."""

    def __init__(self, function):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.into, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.wide, self.narrow = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.function = function
        self.register_buffer("causal", torch.ones(1, 1, TOKENS, TOKENS, dtype=torch.bool).tril())

    def forward(self, x):
        q, k, v = map(heads, self.into(self.norms[0](x)).split(WIDTH, 2))
        scores = q @ k.transpose(-1, -2) / math.sqrt(SIZE)
        scores = torch.where(self.causal, scores, torch.finfo(scores.dtype).min)
        x = x + self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(x.shape))
        return x + self.narrow(self.function(self.wide(self.norms[1](x))))


class Several(nn.Module):
    """torch's own MultiheadAttention."""

    def __init__(self):
        super().__init__()
        self.inner = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

    def forward(self, x, mask=None):
        return self.inner(x, x, x, key_padding_mask=None if mask is None else ~mask,
                          need_weights=False)[0]


def spelled_tanh(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * torch.pow(x, 3))))


def encoder(**options):
    return nn.TransformerEncoderLayer(WIDTH, HEADS, 64, batch_first=True, **options)


NETS: dict[str, tuple[Callable, bool, tuple[str, ...]]] = {
    "attention": (Attention, False, ()),
    "causal": (lambda: Attention("causal"), False, ()),
    "mask of booleans": (lambda: Attention("constant"), False, ()),
    "mask of infinities": (lambda: Attention("infinite"), False, ()),
    "padding": (lambda: Attention("padding"), True, ()),
    "multi-head": (Several, False, ()), "multi-head, padding": (Several, True, ()),
    "encoder": (encoder, False, ("LayerNormalization",) * 2),
    "encoder, GELU": (lambda: encoder(norm_first=True, activation="gelu"), False,
                      ("Gelu", "LayerNormalization", "LayerNormalization")),
    "Llama": (Llama, False, ("RMSNormalization",) * 2),
    "GPT-2": (lambda: Gpt2(spelled_tanh), False, ("Gelu",) + ("LayerNormalization",) * 2),
    "GPT-2, erf": (lambda: Gpt2(nn.GELU()), False, ("Gelu",) + ("LayerNormalization",) * 2),
    "GPT-2, quick": (lambda: Gpt2(lambda x: x * torch.sigmoid(1.702 * x)), False,
                     ("LayerNormalization",) * 2)}
"""Modules, whether they take a mask, and what has to be recognized."""


class Words(nn.Module):
    """A keyword transformer: tokens of time, one for the class, normalization behind."""

    def __init__(self):
        super().__init__()
        self.into, self.head = nn.Linear(40, WIDTH), nn.Linear(WIDTH, 35)
        self.first = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.places = nn.Parameter(0.1 * torch.randn(1, 16, WIDTH))
        self.layers = nn.Sequential(*(nn.TransformerEncoderLayer(
            WIDTH, 1, 64, batch_first=True, activation="gelu") for _ in range(2)))

    def forward(self, x):
        x = self.into(x.transpose(1, 2))
        x = torch.cat((self.first.expand(len(x), -1, -1), x), 1) + self.places
        return self.head(self.layers(x)[:, 0])


class Patches(nn.Module):
    """MobileViT's block: a transformer over the corners of patches of 2 x 2, between
    convolutions."""

    def __init__(self, channels=16):
        super().__init__()
        self.into = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.SiLU(),
                                  nn.Conv2d(channels, WIDTH, 1, bias=False))
        self.inner = nn.TransformerEncoderLayer(WIDTH, HEADS, 64, batch_first=True,
                                                norm_first=True, activation=F.silu)
        self.out = nn.Conv2d(WIDTH, channels, 1)
        self.both = nn.Conv2d(2 * channels, channels, 3, padding=1)

    def forward(self, x):
        y = self.into(x)
        b, c, h, w = y.shape
        y = y.reshape(b * c * h // 2, 2, w // 2, 2).transpose(1, 2)
        y = y.reshape(b, c, h * w // 4, 4).transpose(1, 3).reshape(b * 4, h * w // 4, c)
        y = self.inner(y).reshape(b, 4, h * w // 4, c).transpose(1, 3)
        y = y.reshape(b * c * h // 2, w // 2, 2, 2).transpose(1, 2).reshape(b, c, h, w)
        return self.both(torch.cat((x, self.out(y)), 1))


def export(net, arguments: tuple, path: Path, dynamo: bool) -> None:
    torch.backends.mha.set_fastpath_enabled(False)   # which the older exporter does not know
    with torch.no_grad():
        if dynamo:
            torch.onnx.export(net, arguments, path, dynamo=True, external_data=False,
                              verbose=False)
        else:
            torch.onnx.export(net, arguments, path, dynamo=False, opset_version=17)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "older"])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", NETS)
def test_blocks(name: str, batch: int, dynamo: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    make, masked, wanted = NETS[name]
    if batch > 1 and masked is False and name not in ("attention", "Llama", "encoder"):
        pytest.skip("one image says as much")
    if name.startswith("encoder") and not dynamo:
        pytest.skip("the older exporter of torch 2.13 traces a tensor where its attention takes "
                    "a bool")
    net, path = make().eval(), tmp_path / "net.onnx"
    x = torch.randn(batch, TOKENS, WIDTH)
    mask = torch.arange(TOKENS)[None] < torch.tensor([[8], [3]])[:batch]
    arguments = (x, mask) if masked else (x,)
    export(net, arguments, path, dynamo)
    kinds = sorted(n.op_type for n in recognized(load(path)).nodes)
    assert tuple(k for k in kinds if k in ("Gelu", "LayerNormalization", "RMSNormalization")
                 ) == wanted
    assert not {"Erf", "IsNaN", "ReduceMean", "Pow"} & set(kinds)
    near(net, path, arguments)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make,shape", [(Words, (1, 40, 15)), (Patches, (1, 16, 8, 8))])
def test_other_networks(make: Callable, shape: tuple[int, ...], tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, path, arguments = make().eval(), tmp_path / "net.onnx", (torch.randn(shape),)
    export(net, arguments, path, dynamo=True)
    near(net, path, arguments)


def near(net, path: Path, arguments: tuple) -> None:
    """The machine alone computes it, as PyTorch does."""
    program = compile_model(path, PRESETS["tiny_fp"], precision="fp16")
    assert not [row for row in program.placement if row["engine"] == "host"]
    session = Session(program, GoldenDevice(program.config))
    feeds = {port.name: value.numpy() for port, value in zip(session.inputs, arguments,
                                                             strict=True)}
    got, = session.run(feeds).values()
    with torch.no_grad():
        want = net(*arguments).numpy().astype(np.float64)
    noise = ((got - want) ** 2).sum()
    assert 10 * np.log10((want ** 2).sum() / noise) >= LEAST
