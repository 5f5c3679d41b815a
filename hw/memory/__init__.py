# SPDX-License-Identifier: Apache-2.0
"""The memory controller on the AXI master, and the DMA engines LOAD and STORE behind it."""
