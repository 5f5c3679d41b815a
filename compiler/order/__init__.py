# SPDX-License-Identifier: Apache-2.0
"""The order of the instructions, and the waits between queues."""
