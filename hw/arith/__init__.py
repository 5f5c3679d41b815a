# SPDX-License-Identifier: Apache-2.0
"""Arithmetic that engines share: floats, integer and float lanes, requantization."""
