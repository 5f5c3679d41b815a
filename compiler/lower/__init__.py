# SPDX-License-Identifier: Apache-2.0
"""From ONNX operators to operators of the machine."""
