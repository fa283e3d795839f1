# SPDX-License-Identifier: BSD-2-Clause
"""Programs and shell scripts that the measurements run inside guests.

Python programs here run in a guest's trimmed CPython: they import only each other, `router.usbip` and what that
package imports too (tests/unit/test_bench_programs.py checks it). `bench.programs` sends them. An entry point is a
function whose parameters are `int`, `float`, `str`, `bool` or `bytes`; it prints what it found.
"""
