# SPDX-License-Identifier: BSD-2-Clause
"""Fuzzing of what reads foreign bytes: `python -m tests.fuzz TARGET --seconds N`; pytest replays the corpora.

A target is a module in `targets` with `one_input(data)`, which raises for a bug, and `seeds()`, honest inputs to begin
with. Its corpus is the folder of its name under `corpus`.
"""
