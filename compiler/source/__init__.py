# SPDX-License-Identifier: Apache-2.0
"""Where networks come from: ONNX files, quantization, choice of precision."""
