# SPDX-License-Identifier: Apache-2.0
"""The protocols that the service speaks: each translates, and decides nothing."""
