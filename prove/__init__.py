# SPDX-License-Identifier: Apache-2.0
"""Formal proofs: properties of blocks of the machine that hold in every run, not in those tried."""
