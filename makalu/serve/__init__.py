# SPDX-License-Identifier: Apache-2.0
"""A share of an accelerator over the network: models in a folder, leases, stock protocols."""
