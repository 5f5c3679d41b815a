# SPDX-License-Identifier: Apache-2.0
"""The example that comes with the project: where it lies in a checkout and in an installation."""

from pathlib import Path

HERE = Path(__file__).resolve().parent
EXAMPLES = next(f for f in (HERE / "examples", HERE.parent / "examples") if f.is_dir())
"""Networks, data and scripts."""
