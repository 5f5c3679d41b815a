# SPDX-License-Identifier: Apache-2.0
"""The VECTOR engine: element-wise additions, products, functions and reductions."""
