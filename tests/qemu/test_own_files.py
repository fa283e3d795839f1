# SPDX-License-Identifier: BSD-2-Clause
"""A guest of the user's own files: a packed kernel, and an initramfs in every compression that Linux unpacks."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from router import files
from router.control.timeline import Timeline
from router.errors import MachineError
from router.guests.cpio import write_cpio
from router.guests.image import build_image
from router.machines.qemu.session import split_run
from router.testing import Router, Setup
from tests.support.end_to_end import BOOT, build_text, own_place, set_up

OWN = """
system: own-files
board: qemu
guests:
  own: {image: {kernel: vmlinuz, initramfs: initramfs, role: none}, memory: 256 MiB}
"""


def by(*words: str) -> Callable[[bytes], bytes]:
    def pack(data: bytes) -> bytes:
        return subprocess.run(words, input=data, capture_output=True, check=True).stdout

    return pack


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": gzip.compress,
    "xz": lambda data: lzma.compress(data, check=lzma.CHECK_CRC32),
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
    "bzip2": bz2.compress,
    "zstd": by("zstd", "-cq"),
    # Last, because this format alone has no end of its own: what follows is the archive with the guest's settings.
    "lz4": by("lz4", "-lc"),
}


def initramfs(base: bytes, order: list[str]) -> bytes:
    """The image's own archive and behind it one in each compression, with a file of that name."""
    whole = base
    for name in order:
        whole += bytes(-len(whole) % 4) + PACKERS[name](write_cpio({f"proof/{name}": name.encode()}))
    return whole


def prepared(folder: Path, tail: bytes = b"") -> None:
    if shutil.which("lz4") is None:
        pytest.skip("lz4 is not installed")
    image = build_image("usb-client", cache=files.cache_folder())
    (folder / "vmlinuz").write_bytes(gzip.compress(image.kernel.read_bytes(), 1))
    (folder / "initramfs").write_bytes(initramfs(image.initramfs.read_bytes(), list(PACKERS)) + tail)


@pytest.fixture(scope="module")
def router_setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    folder = tmp_path_factory.mktemp("own")
    prepared(folder)
    return set_up(folder, OWN, on="split")


def test_every_compression_works_together_with_the_guests_settings(router: Router) -> None:
    own = router.guest("own")
    assert own.run("cd /proof && cat " + " ".join(PACKERS)).stdout == "".join(PACKERS)
    assert own.run("hostname").stdout == "own\n"
    assert "10.77.0.2 own" in own.run("cat /etc/hosts").stdout


def test_a_guest_without_its_settings_is_an_error_and_not_up(tmp_path: Path) -> None:
    # What does not unpack makes Linux leave out all that follows.
    prepared(tmp_path, tail=b"neither an archive nor zeros")
    built = build_text(OWN, tmp_path)
    with own_place(), split_run(built, (), tmp_path / "logs", Timeline()) as system:
        with pytest.raises(MachineError, match="guest 'own' came up without its settings"):
            system.wait_ready(BOOT)
        assert not system.timeline.seen("own", "userspace")
