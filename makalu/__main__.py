# SPDX-License-Identifier: Apache-2.0
"""``python -m makalu``."""

from makalu.cli.main import main

main()
