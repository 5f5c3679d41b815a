# SPDX-License-Identifier: Apache-2.0
"""The intermediate representation, its invariants, and the errors of the compiler."""
