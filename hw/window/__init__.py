# SPDX-License-Identifier: Apache-2.0
"""The WINDOW engine: depthwise convolutions and pooling."""
