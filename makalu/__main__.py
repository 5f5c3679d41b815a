# SPDX-License-Identifier: Apache-2.0
"""``python -m makalu``."""

from makalu.cli import main

main()
