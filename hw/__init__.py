# SPDX-License-Identifier: Apache-2.0
"""The machine as RTL, in Amaranth."""
