# SPDX-License-Identifier: Apache-2.0
"""RTL made runnable: Verilator, the C++ harness with its memory model, and a device on both."""
