# SPDX-License-Identifier: BSD-2-Clause
"""The made devices. Each records what it sent and got, so that a test can compare both ends."""
