# SPDX-License-Identifier: Apache-2.0
"""From a network trained in each framework to cycles on the simulated hardware.

``make frameworks`` makes the table of docs/frameworks.md; each module of a framework trains its
network, and can be read, and run, alone.
"""
