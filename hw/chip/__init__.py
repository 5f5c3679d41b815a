# SPDX-License-Identifier: Apache-2.0
"""Many cores on one chip: their way to memory, and the control that gives them jobs."""
