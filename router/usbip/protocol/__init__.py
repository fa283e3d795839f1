# SPDX-License-Identifier: BSD-2-Clause
"""What is on the wire and in descriptors: handshake, URBs, devices, classes and names. No files, no sockets."""
