# SPDX-License-Identifier: Apache-2.0
"""From operators to instructions."""
