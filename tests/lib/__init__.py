# SPDX-License-Identifier: BSD-2-Clause
"""Helpers shared by the demo, the end-to-end tests and the benchmarks (standard library only)."""
