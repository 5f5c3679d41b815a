# SPDX-License-Identifier: Apache-2.0
"""One network over the cores of a gang."""
