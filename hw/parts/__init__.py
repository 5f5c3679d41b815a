# SPDX-License-Identifier: Apache-2.0
"""Small parts without a meaning of their own: FIFOs, skid buffers, delays, address generators."""
