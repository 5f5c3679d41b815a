# SPDX-License-Identifier: Apache-2.0
"""The banked scratchpad and its ports."""
