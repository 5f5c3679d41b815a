# SPDX-License-Identifier: Apache-2.0
"""Benchmarks, accuracy, and comparisons with ONNX Runtime."""
