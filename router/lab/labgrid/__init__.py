# SPDX-License-Identifier: BSD-2-Clause
"""Boards that are places of labgrid. Only a board entry with `labgrid:` imports it; the extra `labgrid` brings it.

`session` speaks with the coordinator, `resources` turns what exporters offer into serial ports, power commands and TFTP
folders, `place` acquires and releases. https://labgrid.readthedocs.io (26.0)
"""
