# SPDX-License-Identifier: Apache-2.0
"""From Verilog towards chips: what the blocks cost."""
