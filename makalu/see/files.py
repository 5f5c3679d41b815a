# SPDX-License-Identifier: Apache-2.0
"""What a profile leaves in a folder."""

import json
from pathlib import Path

from makalu.see.perfetto import events
from makalu.see.profile import Run, summary
from makalu.see.timeline import draw


def write(run: Run, folder: Path) -> list[Path]:
    """``timeline.png``, ``trace.json`` and ``profile.json`` in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / name for name in ("timeline.png", "trace.json", "profile.json")]
    draw(run, files[0])
    files[1].write_text(json.dumps(events(run)))
    files[2].write_text(json.dumps(summary(run), indent=1) + "\n")
    return files
