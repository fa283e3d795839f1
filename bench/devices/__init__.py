# SPDX-License-Identifier: BSD-2-Clause
"""Tries every emulated USB device over the route, and makes docs/tested-devices.md."""
