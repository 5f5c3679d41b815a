# SPDX-License-Identifier: Apache-2.0
"""What a profile leaves in a folder."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from makalu.see.perfetto import events
from makalu.see.profile import Run
from makalu.see.timeline import draw


def write(runs: Sequence[Run], summary: dict[str, Any], folder: Path) -> list[Path]:
    """``timeline.png``, ``trace.json`` and ``profile.json`` in a folder.

    Parameters
    ----------
    runs : sequence of Run
        One, or those of a chip's cores.
    summary : dict
        Of them, as for ``--json``.
    folder : Path
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / name for name in ("timeline.png", "trace.json", "profile.json")]
    draw(runs, files[0])
    files[1].write_text(json.dumps(events(runs)))
    files[2].write_text(json.dumps(summary, indent=1) + "\n")
    return files
