# SPDX-License-Identifier: Apache-2.0
"""The machine on a board: serial line, memory controller, and the board's pins."""
