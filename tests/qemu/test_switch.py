# SPDX-License-Identifier: BSD-2-Clause
"""Between real guests the switch carries the conversations that the description allows, and nothing else."""

from __future__ import annotations

from router.machines.qemu.split import SplitRun
from router.vswitch import SwitchProcess
from tests.support.end_to_end import LISTENS, Booted


def switch_of(booted: Booted) -> SwitchProcess:
    assert isinstance(booted.system, SplitRun)
    return booted.system.switch


def dropped(booted: Booted, port: str) -> dict[str, int]:
    return dict(switch_of(booted).counters()[port].drops)


def test_an_allowed_ping_passes(booted: Booted) -> None:
    assert "3 packets received" in booted.run("client", "ping -c 3 -W 5 10.77.0.2")


def test_the_other_direction_is_not_allowed(booted: Booted) -> None:
    before = sum(dropped(booted, "server").values())
    booted.fails("server", "ping -c 2 -W 1 10.77.0.3")
    assert sum(dropped(booted, "server").values()) > before


def test_guests_without_a_rule_do_not_reach_each_other(booted: Booted) -> None:
    before = sum(dropped(booted, "stranger").values())
    booted.fails("stranger", "ping -c 2 -W 1 10.77.0.3")
    assert sum(dropped(booted, "stranger").values()) > before


def test_another_port_of_the_server_is_closed(booted: Booted) -> None:
    booted.run("server", f"(timeout 120 nc -l -p 2222 >/dev/null 2>&1 &); {LISTENS}")
    booted.fails("client", "nc -w 2 10.77.0.2 2222 </dev/null")
    assert sum(dropped(booted, "client").values()) > 0


def test_a_forged_source_address_is_dropped(booted: Booted) -> None:
    before = sum(dropped(booted, "stranger").values())
    booted.run("stranger", "ip address add 10.77.0.3/32 dev eth0")
    booted.fails("stranger", "ping -c 2 -W 1 -I 10.77.0.3 10.77.0.2")
    booted.run("stranger", "ip address del 10.77.0.3/32 dev eth0")
    assert sum(dropped(booted, "stranger").values()) > before


def test_nothing_is_lost_to_back_pressure(booted: Booted) -> None:
    booted.run("client", "cat /dev/sda >/dev/null", 120)
    counters = switch_of(booted).counters()
    assert {name: port.lost_bytes for name, port in counters.items()} == {"server": 0, "client": 0, "stranger": 0}
    assert counters["client"].tx_bytes > 16 << 20
