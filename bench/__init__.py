# SPDX-License-Identifier: BSD-2-Clause
"""Measurements of our own system, each with its conditions: `router bench` runs them."""
