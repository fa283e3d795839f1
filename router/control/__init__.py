# SPDX-License-Identifier: BSD-2-Clause
"""Talking to a running system from other processes: docs/reference/control.md.

`place` says where the socket of a system is and that it runs once; `server` serves it during the run; `client` is the
other end; `lines` is what both say. `system` is what a way of running has to offer to be served.
"""
