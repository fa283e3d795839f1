# SPDX-License-Identifier: BSD-2-Clause
"""What the guests have given up while the devices of the other tests work over the route."""

from __future__ import annotations

from tests.support.closed_guest import check_confined, check_root
from tests.support.end_to_end import Booted


def test_the_servers_daemon_and_the_clients_are_confined(booted: Booted) -> None:
    check_confined(booted.asking("server"), "serve")
    check_confined(booted.asking("client"), "keep-attached")


def test_the_servers_root_is_read_only_and_a_clients_is_not(booted: Booted) -> None:
    check_root(booted.asking("server"), read_only=True)
    check_root(booted.asking("client"), read_only=False)
