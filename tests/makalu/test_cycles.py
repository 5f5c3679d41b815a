# SPDX-License-Identifier: Apache-2.0
"""Cycles of small networks on the RTL, pinned in ``cycles.json``: a loss fails, and so does a gain
until the table says it; and the compiler predicts them. After a change that is meant, from the root
of the checkout::

    .venv/bin/python -m tests.makalu.test_cycles
"""

import json
from pathlib import Path

import pytest

from makalu.measure.bench import CONFIGS, Bench
from makalu.measure.networks import networks

TABLE = Path(__file__).parent / "cycles.json"
SMALL = ("digits_int8", "squeezenet")
MACHINES = CONFIGS["int8"]
PREDICTED = 0.025
"""How far the compiler's prediction may be off, as a share."""


def measured(config: str) -> dict[str, int]:
    """Cycles of the small networks on a machine."""
    chosen = [n for n in networks()[0] if n.label in SMALL]
    result = Bench(chosen, [config], lambda line: None, lambda result, row: None).run()
    assert not result.skipped and all(row["golden"] for row in result.rows)
    for row in result.rows:
        assert row["predicted_cycles"] == pytest.approx(row["cycles"], rel=PREDICTED)
    return {row["network"]: row["cycles"] for row in result.rows}


@pytest.mark.parametrize("config", [MACHINES[0], pytest.param(MACHINES[1], marks=pytest.mark.long)])
def test_cycles_are_those_of_the_table(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAKALU_MODELS", raising=False)
    table = json.loads(TABLE.read_text())
    assert measured(config) == {name: table[name][config] for name in SMALL}


if __name__ == "__main__":
    every = {config: measured(config) for config in MACHINES}
    TABLE.write_text(json.dumps({name: {c: every[c][name] for c in MACHINES} for name in SMALL},
                                indent=1) + "\n")
