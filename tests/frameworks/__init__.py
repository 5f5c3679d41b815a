# SPDX-License-Identifier: Apache-2.0
"""Models of real frameworks, which ``make frameworks`` installs; skipped where they are not."""
