# SPDX-License-Identifier: Apache-2.0
"""The golden model: what every instruction means, exactly, in plain numpy."""
