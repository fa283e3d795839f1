# SPDX-License-Identifier: BSD-2-Clause
"""The image definitions that are shipped, and the errors of those that are wrong."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from router.description.guest_image import SHIPPED, image_names, load_definition
from router.errors import DescriptionError

SCRIPTS = sorted(
    path
    for path in SHIPPED.rglob("*")
    if path.is_file() and "/etc/" not in str(path) and path.suffix not in {".yaml", ".lock", ".py"}
)


def test_the_shipped_images_are_there_and_their_bases_are_not_offered() -> None:
    assert {"usb-server", "usb-client"} <= set(image_names())
    assert "common" not in image_names()


@pytest.mark.parametrize("name", image_names())
def test_every_shipped_definition_is_valid_and_lists_each_module_once(name: str) -> None:
    definition = load_definition(name)
    names = [module.replace("-", "_") for module in definition.modules()]
    assert len(names) == len(set(names))
    assert "init" in dict(definition.tree_files())


def test_what_an_image_extends_comes_first() -> None:
    modules = load_definition("usb-server").image.modules.boot
    assert modules[:2] == ("virtio_mmio", "virtio_console")
    assert "usbip-host" in modules


def test_class_drivers_never_load_of_themselves_in_the_server() -> None:
    lists = load_definition("usb-server-tools").image.modules
    assert "usb-storage" in lists.available
    assert not {"usb-storage", "uas", "usbhid"} & {*lists.boot, *lists.late}


def test_the_servers_root_and_kernel_are_closed_and_a_clients_are_open() -> None:
    server, tools, client = (load_definition(f"usb-{name}").image for name in ("server", "server-tools", "client"))
    assert (server.read_only, server.lock_kernel) == (True, True)
    # It inherits one and overrides the other: class drivers are loaded to measure.
    assert (tools.read_only, tools.lock_kernel) == (True, False)
    assert not client.read_only
    assert not client.lock_kernel


def test_an_unknown_image_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(DescriptionError) as caught:
        load_definition("usb-servr")
    assert (caught.value.message, caught.value.hint) == ("no guest image 'usb-servr'", "did you mean 'usb-server'?")


BOMB = "summary: &a0 [x, x]\n" + "".join(f"x{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
"""2 to the power of 40 values once the aliases are expanded."""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("packges: [x]", "packges: Extra inputs are not permitted"),
        ("packages: x", "packages: Input should be a valid tuple"),
        ("modules: {boot: [1]}", "modules.boot.0: Input should be a valid string"),
        ("a: [", "a value is expected here"),
        (BOMB, "values once its aliases are expanded"),
        ("packages: &a [*a]", "undefined anchor '*a'"),
        ("packages: !!python/name:os.system [x]", "tags such as '!!python/name:os.system' are not supported"),
        ("extends: [none]", "no guest image 'none' to extend"),
        ("extends: [wrong]", "extends itself"),
        ("trees: [nowhere]", "no folder 'nowhere'"),
    ],
)
def test_a_wrong_definition_is_an_error_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(DescriptionError) as caught:
        load_definition("wrong", tmp_path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_of_the_guests_is_one_that_busybox_can_parse(script: Path) -> None:
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("busybox is not installed")
    parse = ["awk", "-f"] if script.suffix == ".awk" else ["sh", "-n"]
    done = subprocess.run([busybox, *parse, script], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (0, "")
