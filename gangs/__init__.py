# SPDX-License-Identifier: Apache-2.0
"""Whether the streams of a gang are right, from their instructions alone: races, deadlock, signals.
It knows nothing of the compiler that made them, nor of the golden model that runs them."""
