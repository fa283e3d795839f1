# SPDX-License-Identifier: BSD-2-Clause
"""What the daemons run on: the event loop, sockets, sysfs, uevents, options, log and text. Knows no peer."""
