# SPDX-License-Identifier: Apache-2.0
"""What the compiler knows of the machine: layouts, loops, scratchpad, cycles."""
