# SPDX-License-Identifier: Apache-2.0
"""Passes from graph to graph."""
