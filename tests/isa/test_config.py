# SPDX-License-Identifier: Apache-2.0
"""Configurations: presets are legal, mistakes are named, the hash tells machines apart."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from isa.config import Config, ConfigError
from isa.presets import PRESETS, load_config


def test_presets() -> None:
    macs = {name: PRESETS[name].macs for name in ("tiny", "ecp5", "core256", "core1024")}
    assert macs == {"tiny": 16, "ecp5": 128, "core256": 256, "core1024": 1024}
    assert len({c.hash for c in PRESETS.values()}) == len(PRESETS)


def test_instructions_do_not_wait_long_behind_data() -> None:
    """A fetch stands behind all that LOAD has asked the memory for: the program stopped for more
    than a thousand cycles when that were 2,048 beats."""
    for config in PRESETS.values():
        assert config.outstanding * config.max_burst <= 256, config.name


def test_the_hash_is_of_the_machine_not_of_its_name() -> None:
    config = PRESETS["core256"]
    assert replace(config, name="other").hash == config.hash
    assert replace(config, psum_depth=64).hash != config.hash


def test_exchange_is_part_of_the_machine() -> None:
    """One that has it is another one; one that has not says nothing of it."""
    config = PRESETS["core256"]
    assert replace(config, exchange=True).hash != config.hash
    assert "exchange" not in config.fields and replace(config, exchange=True).fields["exchange"]


@pytest.mark.parametrize("field,value", [
    ("lanes", 5), ("lanes", 32), ("tiles", 3), ("spm_banks", 3), ("spm_bytes", 1000),
    ("spm_bytes", 1 << 24), ("psum_depth", 512), ("ppu_lanes", 32), ("weight_words", 8),
    ("vector_lanes", 3), ("bus_bytes", 64), ("addr_bits", 20), ("max_burst", 300),
    ("outstanding", 1), ("queue_depth", 1), ("dtypes", ("int7",)), ("exchange", 1)])
def test_a_mistake_is_named(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{field} is .*but it has to be"):
        Config(**{field: value})


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"lanes": 8, "spm_bytes": 65536, "weight_words": 1,
                                "dtypes": ["int8"]}))
    config = load_config(str(path))
    assert (config.name, config.lanes, config.macs) == ("mine", 8, 64)
    path.write_text("{\"lanes\": 8, \"speed\": 9}")
    with pytest.raises(ConfigError, match=r"mine\.json: not a configuration.*speed"):
        load_config(str(path))
    with pytest.raises(ConfigError, match="no configuration 'huge': name one of tiny"):
        load_config("huge")
