# SPDX-License-Identifier: Apache-2.0
"""A network over any number of a simulated chip's cores has the bits that it has on one."""

import pytest

from compiler import compile_model
from isa.chip import CHIPS
from sim.chip_device import RtlChip
from sim.harness import DramModel
from tests.compiler.test_split import NETWORKS, WAYS, region, shared, stored

CASES = [(chip, name, cores, way) for chip, names in (
    ("chip4_small", ("integers",)), ("chip4_small_fp", tuple(NETWORKS)))
    for name in names for cores in (1, 2, 3, 4)
    for way in WAYS if cores in (2, 4) or way != "both"]


@pytest.mark.long
@pytest.mark.parametrize("chip,name,cores,way", CASES)
def test_bits(monkeypatch: pytest.MonkeyPatch, chip: str, name: str, cores: int, way: str) -> None:
    """Behind a memory that stalls, too; the golden model's, of a core alone."""
    make, precision = NETWORKS[name]
    config = CHIPS[chip].core
    want = stored(compile_model(make(), config, precision=precision))
    shared(monkeypatch, way, slabs=way != "mixed")
    program = compile_model(make(), config, precision=precision, cores=cores)
    assert program.ranks == cores
    for dram in (DramModel(), DramModel(stall=0.2, reorder=0.3, seed=cores)):
        with RtlChip(CHIPS[chip], dram=dram) as device:
            device.load(program)
            assert device.execute(region(program)).outputs.tobytes() == want
