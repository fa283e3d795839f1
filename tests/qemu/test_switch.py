# SPDX-License-Identifier: BSD-2-Clause
"""Between real guests the switch carries the conversations that the description allows, and nothing else."""

from __future__ import annotations

import pytest

from router.testing import GuestFailure, Router
from tests.support.end_to_end import LISTENS

pytestmark = pytest.mark.router_needs("counters")


def dropped(router: Router, port: str) -> int:
    """Frames of this guest that the switch has dropped so far."""
    return sum(router.counters()[port].drops.values())


def fails(router: Router, guest: str, command: str) -> None:
    """The command must fail in the guest."""
    with pytest.raises(GuestFailure, match="exit code"):
        router.guest(guest).run(command)


def test_an_allowed_ping_passes(router: Router) -> None:
    assert "3 packets received" in router.guest("client").run("ping -c 3 -W 5 10.77.0.2").stdout


def test_the_other_direction_is_not_allowed(router: Router) -> None:
    before = dropped(router, "server")
    fails(router, "server", "ping -c 2 -W 1 10.77.0.3")
    assert dropped(router, "server") > before


def test_guests_without_a_rule_do_not_reach_each_other(router: Router) -> None:
    before = dropped(router, "stranger")
    fails(router, "stranger", "ping -c 2 -W 1 10.77.0.3")
    assert dropped(router, "stranger") > before


def test_another_port_of_the_server_is_closed(router: Router) -> None:
    router.guest("server").run(f"(timeout 120 nc -l -p 2222 >/dev/null 2>&1 &); {LISTENS}")
    fails(router, "client", "nc -w 2 10.77.0.2 2222 </dev/null")
    assert dropped(router, "client") > 0


def test_a_forged_source_address_is_dropped(router: Router) -> None:
    before = dropped(router, "stranger")
    router.guest("stranger").run("ip address add 10.77.0.3/32 dev eth0")
    fails(router, "stranger", "ping -c 2 -W 1 -I 10.77.0.3 10.77.0.2")
    router.guest("stranger").run("ip address del 10.77.0.3/32 dev eth0")
    assert dropped(router, "stranger") > before


def test_nothing_is_lost_to_back_pressure(router: Router) -> None:
    router.guest("client").run("cat /dev/sda >/dev/null")
    counters = router.counters()
    assert {name: port.lost_bytes for name, port in counters.items()} == {"server": 0, "client": 0, "stranger": 0}
    assert counters["client"].tx_bytes > 16 << 20
