# SPDX-License-Identifier: BSD-2-Clause
"""The comparison behind tests/perf/run: peers and us in one run (standard library only)."""
