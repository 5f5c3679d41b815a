# SPDX-License-Identifier: Apache-2.0
"""What a core of a gang has besides: words that go to other cores' scratchpads, words that come
from there, and counters of signals that it waits for."""
