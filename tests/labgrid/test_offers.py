# SPDX-License-Identifier: BSD-2-Clause
"""What exporters offer reaches shells, ssh and U-Boot only where it is harmless there. Needs no labgrid."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from router.errors import MachineError
from router.lab.board import Labgrid
from router.lab.labgrid import resources
from tests.support.patience import PATIENCE

LABGRID = Labgrid(place="desk")
COORDINATOR = "127.0.0.1:20408"


def offer(cls: str, extra: dict[str, object] | None = None, **arguments: object) -> resources.Offer:
    """A resource of an exporter's, as labgrid's ResourceEntry has it."""
    return "name", f"bench/desk/{cls}/name", SimpleNamespace(cls=cls, args=arguments, extra=extra or {}, avail=True)


def tftp(**changes: object) -> resources.Offer:
    arguments = {"host": "bench", "internal": "/srv/tftp/", "external": "labgrid/", **changes}
    return offer(resources.TFTP, None, **arguments)


def test_a_module_in_the_users_folder_does_not_run_when_the_power_is_switched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = tmp_path / "installed/labgrid/remote/client.py"
    client.parent.mkdir(parents=True)
    client.write_text("import argparse, sys\nprint(sys.argv[-1])\n")
    here = tmp_path / "here"
    here.mkdir()
    (here / "argparse.py").write_text("print('planted')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "installed"))
    power = resources.power_of([offer("NetworkPowerPort", host="switch")], LABGRID, COORDINATOR)
    assert power is not None and power.cycle is not None
    done = subprocess.run(
        power.cycle, shell=True, cwd=here, capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert done.stdout == "cycle\n"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("internal", "/srv/tftp; reboot"),
        ("internal", "/srv/$(reboot)"),
        ("internal", "/srv/tftp\nreboot"),
        ("internal", "-rf"),
        ("internal", 7),
        ("internal", None),
        ("external", "labgrid; reset"),
        ("external", "labgrid ${x}"),
        ("external", None),
        ("external", ["labgrid"]),
        ("host", "-oProxyCommand=reboot"),
        ("host", "bench;reboot"),
        ("host", "bench\n"),
        ("host", ""),
        ("host", None),
    ],
)
def test_a_tftp_folder_that_could_be_a_command_is_refused_with_its_name(name: str, value: object) -> None:
    with pytest.raises(MachineError, match=f"the exporter's `{name}` cannot be used") as caught:
        resources.stage(tftp(**{name: value}))
    assert caught.value.where == f"bench/desk/{resources.TFTP}/name"


def test_a_tftp_folder_without_external_is_a_clear_error() -> None:
    with pytest.raises(MachineError, match="the exporter's `external` cannot be used: None"):
        resources.prefix_of(offer(resources.TFTP, host="bench", internal="/srv/tftp"))


@pytest.mark.parametrize(("external", "prefix"), [("labgrid/", "labgrid/"), ("/a/b+c_1.d-e", "a/b+c_1.d-e/"), ("", "")])
def test_the_folder_names_that_labs_have_are_taken(external: str, prefix: str) -> None:
    assert resources.prefix_of(tftp(external=external)) == prefix


@pytest.mark.parametrize(
    ("host", "extra", "name"),
    [
        ("bench/..?ign_set_control", {}, "host"),
        ("-oProxyCommand=reboot", {}, "host"),
        ("bench", {"proxy_required": True, "proxy": "-oProxyCommand=reboot"}, "proxy"),
    ],
)
def test_a_serial_port_whose_host_could_be_more_than_a_host_is_refused(
    host: str, extra: dict[str, object], name: str
) -> None:
    with pytest.raises(MachineError, match=f"the exporter's `{name}` cannot be used"):
        resources.url_of(SimpleNamespace(host=host, port=2000, protocol="raw", extra=extra))


@pytest.mark.parametrize(
    "port",
    [
        offer("NetworkUSBPowerPort", host="-oProxyCommand=reboot", path="1-2", index=1),
        offer("NetworkUSBPowerPort", host="bench", path="1-2; reboot", index=1),
        offer("NetworkPowerPort", {"proxy": "-oProxyCommand=reboot"}, host="switch"),
    ],
)
def test_a_power_port_that_could_be_a_command_is_refused(port: resources.Offer) -> None:
    with pytest.raises(MachineError, match="cannot be used"):
        resources.power_of([port], LABGRID, COORDINATOR)


def test_the_power_ports_that_labs_have_are_taken() -> None:
    for port in (
        offer("NetworkUSBPowerPort", host="bench.lab", busnum=1, devnum=2, path="1-2.3", index=1, model_id=7),
        offer("NetworkPowerPort", model="rest", host="http://user:pw@switch/{index}?set={value}&now", index=0),
        offer("NetworkSiSPMPowerPort", {"proxy": "me@gate", "proxy_required": True}, host="bench", path="1-1"),
    ):
        assert resources.power_of([port], LABGRID, COORDINATOR) is not None
