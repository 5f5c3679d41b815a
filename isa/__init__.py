# SPDX-License-Identifier: Apache-2.0
"""What the machine is: configuration, instructions, registers, programs. No RTL, no ONNX."""
