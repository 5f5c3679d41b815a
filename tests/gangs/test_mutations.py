# SPDX-License-Identifier: Apache-2.0
"""The compiler's programs with one thing wrong: what some order on the golden model shows of them,
be it race, deadlock or signal, the check finds; of the programs themselves it finds nothing."""

import random
from collections import Counter

import pytest

from compiler import compile_model
from gangs.check import check
from golden.gang import Gang
from tests.compiler.test_split import NETWORKS, findings, machine, region
from tests.gangs.mutations import MUTATIONS
from tests.gangs.orders import Shown, behind

REACH = 2
"""How far back the suspects are: what waits, what it waits for, and what that waits for."""


def caught(name: str, of: str, cores: int, wanted: int, seed: int
           ) -> tuple[Counter[str], Counter[str]]:
    """Of mutations of a program, in turn of each kind, the first so many that an order shows to be
    wrong: how often what was shown, and how often the check found something then."""
    make, precision = NETWORKS[name]
    program = compile_model(make(), machine(of, precision), precision=precision, cores=cores)
    assert findings(program) == []
    inputs, gang, rng = region(program), Gang(program.config, cores), random.Random(seed)
    streams = [program.instructions(rank) for rank in range(cores)]
    assert Shown(program, inputs, streams, gang).wrong((), rng) == ""
    shown, found = Counter[str](), Counter[str]()
    for mutate in MUTATIONS * wanted:
        wrong, places = mutate(streams, rng)
        what = Shown(program, inputs, wrong, gang).wrong(behind(streams, places, REACH), rng)
        if what:
            shown[what] += 1
            found[what] += bool(check(wrong, program.config, program.region_sizes))
        if sum(shown.values()) == wanted:
            break
    return shown, found


def test_mutations() -> None:
    shown, found = caught("integers", "core256", 3, 10, 1)
    assert found == shown and len(shown) == 3


@pytest.mark.long
@pytest.mark.parametrize("name,of,cores", [
    ("integers", "core256", 3), ("integers", "tiny", 2), ("residual", "core256", 2),
    ("separable", "core256", 4)])
def test_a_hundred_mutations(name: str, of: str, cores: int) -> None:
    shown, found = caught(name, of, cores, 100, 6)
    assert sum(shown.values()) == 100 and min(shown.values()) >= 5
    assert found == shown
