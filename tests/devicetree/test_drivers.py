# SPDX-License-Identifier: BSD-2-Clause
"""Whether a guest's image drives what the guest owns is said before anything boots."""

from __future__ import annotations

from pathlib import Path

import pytest

from router import files
from router.description.guest_image import Definition, ImageDefinition, ModuleLists, load_definition
from router.description.load import load
from router.devicetree import Tree, dependency_closure
from router.devicetree.dtc import compile_source
from router.guests.drivers import Drivers, cached_drivers
from router.guests.kernel import Kernel
from router.guests.modules import driver_index, module_aliases
from router.pipeline.drivers import driver_notes
from router.pipeline.inputs import plan_loaded
from tests.guests.crafted import make_module

VENDOR = Path(__file__).parent / "vendor"


class FakeDrivers:
    """An image with drivers for these `compatible` strings, and modules that it lacks."""

    kernel_version = "6.1.0"

    def __init__(self, have: set[str], modules: dict[str, str]) -> None:
        self._have, self._modules = have, modules

    def have(self, compatible: tuple[str, ...]) -> bool:
        return bool(self._have & set(compatible))

    def missing_module(self, compatible: tuple[str, ...]) -> str | None:
        return next((self._modules[name] for name in compatible if name in self._modules), None)


def test_a_node_without_a_driver_is_named_with_the_module_and_the_device_that_waits() -> None:
    tree = Tree.parse(compile_source(VENDOR / "driver-not-in-image.dts"), "tree")
    closure = dependency_closure(tree, ["usb1", "usb2"], "server")
    have = {"snps,dwc3", "fsl,imx35-gpio", "fsl,imx8mq-usb-phy"}
    notes = driver_notes(closure, "small", FakeDrivers(have, {"linux,extcon-usb-gpio": "extcon_usb_gpio"}))
    assert notes == (
        "the image 'small' has no driver for extcon-usb ('linux,extcon-usb-gpio'): add the module 'extcon-usb-gpio' to"
        " the image; usb@38100000 waits for it",
        "the image 'small' has no driver for clock-odd ('test,no-driver-anywhere'): its kernel 6.1.0 has none;"
        " usb@38200000 waits for it",
    )


def test_a_chosen_device_needs_a_driver_and_buses_parts_and_looked_up_nodes_do_not(toy: Tree) -> None:
    closure = dependency_closure(toy, ["usb"], "server")
    nothing = driver_notes(closure, "bare", FakeDrivers(set(), {}))
    named = {note.partition(" driver for ")[2].partition(" ")[0] for note in nothing}
    assert {"usb@100000", "usb-phy@1f0040", "osc", "regulator-vbus", "gpio@54000", "typec@58000"} <= named
    assert not named & {"syscon@51000", "pgc", "port", "endpoint", "connector", "vbusgrp", "soc", "led-hog"}


def test_modules_are_found_by_the_aliases_of_their_device_tables() -> None:
    info = b"license=GPL\0alias=of:N*T*Ctest,oneC*\0alias=of:N*T*Ctest,one\0alias=of:N*T*Ctest,two\0alias=usb:v1\0"
    listed = {"a": module_aliases(b"\0" + info), "b": module_aliases(b"\0alias=of:NxTyCtest,two\0")}
    assert driver_index(listed) == {"test,one": "a", "test,two": "a"}


def test_what_an_image_drives_is_found_out_once_and_a_damaged_answer_is_found_out_again(tmp_path: Path) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/one.ko").write_bytes(make_module(alias=["of:N*T*Ctest,one", "fs-one"]))
    (tmp_path / "drivers.json").write_text('{"test,one": "one"}')
    (tmp_path / "Image").write_bytes(b"..built-in,two\0..")
    kernel = Kernel(tmp_path, "6.1.0", {"one": "one.ko"}, frozenset(), {"fs-one": ["one"]}, 0)
    # By an alias, as a description may name a module.
    image = ImageDefinition(modules=ModuleLists(late=("fs-one",)))
    definition = Definition(name="own", image=image, folder=tmp_path, sources=(tmp_path / "own.yaml",))

    def answers() -> list[bool]:
        drivers = Drivers(definition, kernel)
        return [drivers.have([name, "else"]) for name in ("test,one", "built-in,two", "nobody,three")]

    assert answers() == [True, True, False]
    (kept,) = tmp_path.glob("driven-*.json")
    (tmp_path / "Image").rename(tmp_path / "Image.away")
    assert answers() == [True, True, False]
    (tmp_path / "Image.away").rename(tmp_path / "Image")
    for damage in (b"", b"[]", b"\xff", b'{"test,one\\u0000else": 0}'):
        kept.write_bytes(damage)
        assert answers() == [True, True, False]


@pytest.mark.packages
def test_the_shipped_server_image_drives_the_maaxboard_and_lacks_an_id_pins_driver(
    maaxboard: Tree, tmp_path: Path
) -> None:
    drivers = cached_drivers(load_definition("usb-server"))
    assert drivers is not None
    closure = dependency_closure(maaxboard, ["usb@38100000", "usb@38200000"], "server")
    assert driver_notes(closure, "usb-server", drivers) == ()
    (tmp_path / "board.dtb").write_bytes(compile_source(VENDOR / "driver-not-in-image.dts"))
    file = tmp_path / "system.yaml"
    file.write_text(
        "system: a5\nboard: maaxboard\ndevice_tree: board.dtb\nguests:\n"
        "  server: {image: usb-server, passthrough: [usb1]}\n"
    )
    notes = plan_loaded(load(file), files.cache_folder(), lambda _: None).plan.notes
    assert (
        "server: the image 'usb-server' has no driver for extcon-usb ('linux,extcon-usb-gpio'): add the module"
        " 'extcon-usb-gpio' to the image; usb@38100000 waits for it"
    ) in notes
    unchecked = plan_loaded(load(file), tmp_path / "empty-cache", lambda _: None).plan.notes
    assert any("whether the image 'usb-server' has all drivers is not checked" in note for note in unchecked)
