# SPDX-License-Identifier: Apache-2.0
"""The TENSOR engine: feeder, weights, PE array, accumulators (PSUM), drain, post-processor."""
