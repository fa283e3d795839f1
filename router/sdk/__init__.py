# SPDX-License-Identifier: BSD-2-Clause
"""Microkit releases: which there are, and how one is fetched, verified, and put where router looks for SDKs."""
