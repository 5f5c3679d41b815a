# SPDX-License-Identifier: Apache-2.0
"""Tests of what a core of a gang has besides."""
