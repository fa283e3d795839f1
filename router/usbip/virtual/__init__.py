# SPDX-License-Identifier: BSD-2-Clause
"""Devices made of Python objects, and the engine that serves them: for demonstrations and tests."""
