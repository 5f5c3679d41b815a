# SPDX-License-Identifier: Apache-2.0
"""Two small transformers that this checkout ships, trained from data that its dependencies bring:
one that writes text, a character at a time, and one that reads handwritten digits."""

from pathlib import Path

FOLDER = Path(__file__).parent.parent
TEXT, PICTURES = FOLDER / "topics.onnx", FOLDER / "digits_vit.onnx"
"""The shipped models."""
