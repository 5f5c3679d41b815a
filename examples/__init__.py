# SPDX-License-Identifier: Apache-2.0
"""What to try first."""
