# SPDX-License-Identifier: Apache-2.0
"""What serving costs, measured with stock clients on loopback; ``make bench-serve``."""
