# SPDX-License-Identifier: BSD-2-Clause
"""Which kernel modules an image gets, and in which order."""

from __future__ import annotations

import gzip
import lzma

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.elf import module_info, needed_libraries, segments
from router.errors import DescriptionError, HostError
from router.guests.modules import (
    ModuleSet,
    alias_index,
    builtin_aliases,
    builtin_names,
    module_aliases,
    modules_alias,
    modules_dep,
    modules_softdep,
    resolve,
    unpack_module,
)
from tests.guests.crafted import make_elf, make_module

FILES = {
    "kernel/usb/usb-common.ko": make_module(),
    "kernel/usb/usbcore.ko": make_module(depends="usb-common"),
    "kernel/usb/usbip-core.ko": make_module(depends="usbcore,usb_common"),
    "kernel/usb/vhci-hcd.ko": make_module(depends="usbcore,usbip-core"),
    "kernel/usb/storage.ko": make_module(depends="", softdep="pre: usbcore absent post: vhci-hcd"),
    "kernel/fs/fat.ko": make_module(depends="", alias=["fs-fat", "usb:v1234p*"]),
    "kernel/net/vsock.ko": make_module(depends="", alias=["net-pf-40"]),
    "kernel/net/af_packet.ko": make_module(depends="", alias=["net-pf-17"]),
    "kernel/crc32c_generic.ko": make_module(depends="", alias=["crc32c", "crypto-crc32c"]),
    "kernel/crc32c-fast.ko": make_module(depends="", alias=["crypto-crc32c"]),
    "kernel/fs/ext4.ko": make_module(softdep=["pre: crypto-crc32c", "pre: crypto-sha256"], alias=["fs-ext4"]),
    "kernel/fs/cifs.ko": make_module(softdep="crypto-crc32c"),
    "kernel/x86.ko": make_module(machine=62),
    "kernel/orphan.ko": make_module(depends="nowhere"),
}
NAMES = {path.rsplit("/", 1)[1].removesuffix(".ko").replace("-", "_"): path for path in FILES}
ALIASES = {
    "crypto-crc32c": ["crc32c_fast", "crc32c_generic"],
    "crypto-sha256": ["sha256_generic"],
    "fs-ext4": ["ext4"],
}
BUILTIN = frozenset({"virtio", "ext2", "sha256_generic"})


def closure(*wanted: str) -> ModuleSet:
    return resolve(wanted, NAMES, BUILTIN, FILES.__getitem__, "image.yaml", ALIASES)


def test_every_module_comes_after_all_that_it_depends_on() -> None:
    names = [module.name for module in closure("vhci-hcd").modules]
    assert sorted(names) == ["usb_common", "usbcore", "usbip_core", "vhci_hcd"]
    for module in closure("vhci-hcd").modules:
        for dependency in module.depends:
            assert names.index(dependency.replace("-", "_")) < names.index(module.name)


def test_only_the_closure_of_what_is_asked_for_is_there() -> None:
    assert [module.name for module in closure("usbcore").modules] == ["usb_common", "usbcore"]


def test_dashes_and_underscores_are_the_same_name() -> None:
    assert closure("vhci-hcd") == closure("vhci_hcd")


def test_soft_dependencies_come_before_and_after_as_they_say_where_they_exist() -> None:
    found = closure("storage")
    assert [module.name for module in found.modules] == ["usb_common", "usbcore", "storage", "usbip_core", "vhci_hcd"]
    assert [module.name for module in found.order(["storage"])] == [module.name for module in found.modules]
    assert found.absent_soft == ("absent",)
    assert modules_softdep(found) == "softdep storage pre: usbcore absent post: vhci-hcd\n"


def test_a_checksum_that_a_file_system_asks_for_by_name_comes_with_every_module_that_has_the_name() -> None:
    found = closure("ext4")
    assert [module.name for module in found.modules] == ["crc32c_fast", "crc32c_generic", "ext4"]
    assert "alias crypto-crc32c crc32c_generic\n" in modules_alias(found)
    assert found.absent_soft == ()
    assert found.builtin == ("sha256_generic",)


def test_a_soft_dependency_without_a_kind_is_a_pre_one() -> None:
    assert [module.name for module in closure("cifs").modules] == ["crc32c_fast", "crc32c_generic", "cifs"]


def test_a_module_can_be_asked_for_by_an_alias() -> None:
    assert [module.name for module in closure("fs-ext4").modules][-1] == "ext4"
    assert closure("crypto-sha256").builtin == ("sha256_generic",)


def test_an_optional_module_counts_if_the_kernel_has_it() -> None:
    found = resolve(["fat"], NAMES, BUILTIN, FILES.__getitem__, None, ALIASES, ["usb-common", "ntfs3"])
    assert [module.name for module in found.modules] == ["fat", "usb_common"]
    assert found.absent_soft == ("ntfs3",)


def test_the_index_of_aliases_has_names_and_no_hardware_identifiers() -> None:
    modules = {name: module_aliases(FILES[path]) for name, path in NAMES.items()}
    assert alias_index(modules)["crypto-crc32c"] == ["crc32c_fast", "crc32c_generic"]
    assert not [alias for alias in alias_index(modules) if alias.startswith("usb:")]
    modinfo = b"sha256_generic.license=GPL\0sha256_generic.alias=sha256\0xhci-pci.alias=pci:v*\0"
    assert builtin_aliases(modinfo) == {"sha256": ["sha256_generic"]}


def test_a_module_that_the_kernel_has_built_in_is_recognised_and_not_loaded() -> None:
    found = closure("virtio", "usbcore")
    assert found.builtin == ("virtio",)
    assert "virtio" not in [module.name for module in found.modules]
    assert builtin_names("kernel/drivers/virtio/virtio-ring.ko\nkernel/fs/ext2.ko\n") == {"virtio_ring", "ext2"}


def test_an_unknown_module_is_the_descriptions_error_and_the_nearest_name_is_offered() -> None:
    with pytest.raises(DescriptionError) as caught:
        closure("vhci-hdc")
    assert caught.value.message == "the kernel has no module 'vhci_hdc'"
    assert caught.value.hint == "did you mean 'vhci_hcd'?"
    assert caught.value.where == "image.yaml"


def test_a_module_for_another_machine_is_refused() -> None:
    with pytest.raises(HostError, match=r"kernel/x86\.ko is not an arm64 ELF file"):
        closure("x86")


def test_a_dependency_that_the_package_lacks_is_named_with_its_dependent() -> None:
    with pytest.raises(HostError, match="no module 'nowhere', which orphan depends on"):
        closure("orphan")


def test_the_loading_order_of_a_part_leaves_the_rest_out() -> None:
    everything = closure("vhci-hcd", "fat")
    assert [module.name for module in everything.order(["fat"])] == ["fat"]
    assert [module.name for module in everything.order(["fs-fat"])] == ["fat"]
    assert [module.name for module in everything.order(["usbip-core"])] == ["usb_common", "usbcore", "usbip_core"]


def test_modprobe_finds_dependencies_and_file_systems_but_no_hardware_identifiers() -> None:
    found = closure("usbip-core", "fat")
    assert "kernel/usb/usbcore.ko: kernel/usb/usb-common.ko\n" in modules_dep(found)
    assert "kernel/usb/usbip-core.ko: kernel/usb/usbcore.ko kernel/usb/usb-common.ko\n" in modules_dep(found)
    assert modules_alias(found) == "alias fs-fat fat\n"


def test_no_program_has_vsock_loaded_by_opening_a_socket() -> None:
    found = closure("vsock", "af_packet")
    assert modules_alias(found) == "alias net-pf-17 af_packet\n"
    assert "kernel/net/vsock.ko:\n" in modules_dep(found)


@pytest.mark.parametrize(("suffix", "pack"), [("", bytes), (".xz", lzma.compress), (".gz", gzip.compress)])
def test_compressed_modules_are_unpacked(suffix: str, pack: object) -> None:
    assert callable(pack)
    assert unpack_module(f"a.ko{suffix}", pack(b"\x7fELF...")) == b"\x7fELF..."


def test_a_damaged_compressed_module_is_a_clear_error() -> None:
    with pytest.raises(HostError, match="cannot be decompressed"):
        unpack_module("a.ko.xz", b"not xz")


def test_module_information_keeps_every_value_of_a_key() -> None:
    assert module_info(make_module(alias=["a", "b=c"], license="GPL")) == {"alias": ["a", "b=c"], "license": ["GPL"]}


def test_needed_libraries_are_read_from_the_dynamic_section() -> None:
    strings = b"\0libc.so.6\0libz.so.1\0"
    dynamic = b"".join(n.to_bytes(8, "little") for n in (1, 1, 1, 11, 14, 1, 0, 0, 1, 1))
    elf = make_elf({".dynstr": (3, strings, 0), ".dynamic": (6, dynamic, 1)})
    assert needed_libraries(elf) == ["libc.so.6", "libz.so.1"]
    assert needed_libraries(make_module()) == []


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_damaged_file_is_an_error_and_never_a_crash(data: st.DataObject) -> None:
    whole = bytearray(make_module(alias=["a", "b=c"], license="GPL"))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(6, len(whole) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(whole[: data.draw(st.integers(6, len(whole)))])
    for look in (module_info, needed_libraries, segments):
        try:
            assert isinstance(look(damaged), dict | list)
        except HostError as error:
            assert error.hint


@pytest.mark.parametrize("data", [b"", b"\x7fELF", make_module()[:80], b"#!/bin/sh"])
def test_truncated_files_are_an_error_and_not_a_crash(data: bytes) -> None:
    with pytest.raises(HostError):
        module_info(data)
