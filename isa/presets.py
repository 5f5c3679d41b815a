# SPDX-License-Identifier: Apache-2.0
"""The machines that have a name."""

import json
from dataclasses import replace
from pathlib import Path

from isa.config import Config, ConfigError

FLOATS = ("int8", "fp16", "bf16")

INTEGER = (
    Config(name="tiny", lanes=4, tiles=1, spm_bytes=8 * 1024, spm_banks=4, psum_depth=8,
           ppu_lanes=2, weight_words=1, vector_lanes=2, window_lanes=2, bus_bytes=8, addr_bits=32,
           max_burst=16, outstanding=2, queue_depth=4),
    Config(name="ecp5", lanes=8, tiles=2, spm_bytes=128 * 1024, spm_banks=4, psum_depth=64,
           ppu_lanes=1, weight_words=1, vector_lanes=1, window_taps=0, bus_bytes=8, addr_bits=32,
           max_burst=64, outstanding=4, queue_depth=4, profile=False),
    Config(name="core256", lanes=16, tiles=1, spm_bytes=512 * 1024, spm_banks=8, psum_depth=128,
           ppu_lanes=8, weight_words=2, vector_lanes=8, window_lanes=8, bus_bytes=16,
           max_burst=32),
    Config(name="core1024", lanes=16, tiles=4, spm_bytes=1024 * 1024, spm_banks=32, psum_depth=128,
           ppu_lanes=8, weight_words=4, vector_lanes=16, window_lanes=8, bus_bytes=32,
           max_burst=16, outstanding=16),
)
"""The machines with INT8 alone."""

SMALL = Config(name="ecp5_fp", lanes=4, tiles=1, spm_bytes=32 * 1024, spm_banks=4, psum_depth=16,
               ppu_lanes=1, weight_words=1, vector_lanes=1, window_taps=0, bus_bytes=8,
               addr_bits=32, max_burst=64, outstanding=4, queue_depth=4, profile=False,
               dtypes=("int8", "fp16"))
"""INT8 and FP16 on an ECP5-85, which ``ecp5`` fills with INT8 alone."""

PRESETS = {c.name: c for c in (
    *INTEGER, *(SMALL if c.name == "ecp5" else replace(c, name=f"{c.name}_fp", dtypes=FLOATS)
                for c in INTEGER))}
"""Each machine with INT8 alone, and one with floating point under a name that ends in ``_fp``."""


def load_config(name: str) -> Config:
    """A preset by its name, or the configuration in a ``.json`` file that holds its fields.

    Raises
    ------
    ConfigError
        If there is no such preset, or the file is not a legal configuration.
    """
    if name in PRESETS:
        return PRESETS[name]
    path = Path(name)
    if path.suffix == ".json" and path.is_file():
        try:
            fields = json.loads(path.read_text())
            if "dtypes" in fields:
                fields["dtypes"] = tuple(fields["dtypes"])
            return Config(**{"name": path.stem, **fields})
        except (TypeError, AttributeError, json.JSONDecodeError) as e:
            raise ConfigError(f"{path}: not a configuration: {e}") from e
    raise ConfigError(f"no configuration {name!r}: name one of {', '.join(PRESETS)}, "
                      "or a .json file with the fields of isa.config.Config")
