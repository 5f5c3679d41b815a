# SPDX-License-Identifier: Apache-2.0
"""``python -m makalu``."""

from makalu.cli.main import main

if __name__ == "__main__":      # and not in a process that a server starts
    main()
