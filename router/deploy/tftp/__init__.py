# SPDX-License-Identifier: BSD-2-Clause
"""A read-only TFTP server that hands one deployment's files to one board: RFC 1350, 2347, 2348, 2349 and 7440."""
