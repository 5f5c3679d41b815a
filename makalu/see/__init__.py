# SPDX-License-Identifier: Apache-2.0
"""Where cycles go, and where bits differ."""
