# SPDX-License-Identifier: Apache-2.0
"""What every engine has: ports, dispatch, waits for other queues, cycle buckets, signatures."""
