# SPDX-License-Identifier: Apache-2.0
"""Caffe2's predict and init nets as ONNX: :func:`compiler.source.imports.caffe2.load.load`."""
