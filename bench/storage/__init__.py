# SPDX-License-Identifier: BSD-2-Clause
"""The study of one disk for many guests: files on the server's file system compared with partitions."""
