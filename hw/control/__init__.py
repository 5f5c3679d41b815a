# SPDX-License-Identifier: Apache-2.0
"""The host's registers, instruction fetch, and the sequencer that feeds the five queues."""
