# SPDX-License-Identifier: BSD-2-Clause
"""The client: imports devices, plugs them into vhci, keeps them attached, checks a server that is not trusted."""
