# SPDX-License-Identifier: Apache-2.0
"""A program on a device: what a device is, the golden one, and sessions with named arrays."""
