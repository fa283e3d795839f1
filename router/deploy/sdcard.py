# SPDX-License-Identifier: BSD-2-Clause
"""An SD card image with one partition that holds a boot script and the system: for those who do not load by TFTP.

The partition begins at 8 MiB: i.MX8M boot ROMs read the boot loader from the raw card at 33 KiB, so there is room for
one (`bootloader`), and an existing one on the card survives when only the partition is written.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from router import files
from router.deploy import fat
from router.deploy.plan import DeployPlan, take_payload
from router.errors import DescriptionError

PARTITION_START = 8 << 20
BOOTLOADER_START = 33 << 10  # i.MX 8M Quad reference manual, 6.1.5.1.2: the image vector table's offset on SD and eMMC
FAT16_LBA = 0x0E
SCRIPT = "boot.scr"


def card_names(plan: DeployPlan) -> dict[str, str]:
    """The 8.3 name on the card of each payload."""
    names: dict[str, str] = {}
    for number, item in enumerate(plan.payloads):
        base = item.file.rsplit("/", 1)[-1].lower()
        fits = fat.short_name(base) is not None and base != SCRIPT and base not in names.values()
        names[item.file] = base if fits else f"load{number}.img"
    return names


def boot_commands(plan: DeployPlan) -> str:
    """The boot script's text. It loads from wherever it was loaded itself.

    Distro boot tells a script so in devtype, devnum and distro_bootpart, NXP's vendor boot loaders in mmcdev and
    mmcpart; what both leave open is the first partition of the first card.
    """
    lines = [
        f"echo router: {plan.system} for {plan.board}",
        'if test -z "${devtype}"; then setenv devtype mmc; fi',
        'if test -z "${devnum}"; then setenv devnum ${mmcdev}; fi',
        'if test -z "${devnum}"; then setenv devnum 0; fi',
        'if test -z "${distro_bootpart}"; then setenv distro_bootpart ${mmcpart}; fi',
        'if test -z "${distro_bootpart}"; then setenv distro_bootpart 1; fi',
        "setenv router_ok yes",
    ]
    names = card_names(plan)
    source = "${devtype} ${devnum}:${distro_bootpart}"
    lines += [f"load {source} {item.address:#x} {names[item.file]} || setenv router_ok no" for item in plan.payloads]
    start = " && ".join([*plan.prepare, plan.start])
    lines += [
        f'if test "${{router_ok}}" = yes; then {start}; fi',
        "echo router: the system did not start; see above",
    ]
    return "\n".join(lines) + "\n"


def script_image(text: str) -> bytes:
    """A legacy U-Boot image of type script (include/image.h: struct legacy_img_hdr, IH_TYPE_SCRIPT)."""
    body = text.encode()
    data = struct.pack(">II", len(body), 0) + body
    linux, arm64, script, uncompressed = 5, 22, 6, 0
    fields = (0, len(data), 0, 0, zlib.crc32(data), linux, arm64, script, uncompressed, b"router")
    blank = struct.pack(">IIIIIIIBBBB32s", 0x27051956, 0, *fields)
    return struct.pack(">IIIIIIIBBBB32s", 0x27051956, zlib.crc32(blank), *fields) + data


def write_card(plan: DeployPlan, folder: Path, out: Path, bootloader: Path | None = None) -> int:
    """Write the card image aside and rename it; its size in bytes. The file is sparse where nothing is stored.

    bootloader: a raw boot loader for the card's start, for cards that the board boots from alone.
    """
    names = card_names(plan)
    contents = {SCRIPT: script_image(boot_commands(plan))}
    for item in plan.payloads:
        data = bytearray()
        take_payload(folder / item.file, item, data.extend)
        contents[names[item.file]] = bytes(data)
    with files.written_aside(out) as aside, aside.open("w+b") as stream:
        if bootloader is not None:
            raw = bootloader.read_bytes()
            if BOOTLOADER_START + len(raw) > PARTITION_START:
                raise DescriptionError(
                    f"{len(raw)} bytes of boot loader reach into the partition", where=str(bootloader)
                )
            stream.seek(BOOTLOADER_START)
            stream.write(raw)
        shape = fat.write_volume(stream, PARTITION_START, contents, PARTITION_START // fat.SECTOR)
        stream.seek(0)
        stream.write(_mbr(PARTITION_START // fat.SECTOR, shape.sectors))
        size = PARTITION_START + shape.sectors * fat.SECTOR
        stream.truncate(size)
    return size


def _mbr(first: int, sectors: int) -> bytes:
    """A master boot record with one partition; addresses as LBA, the cylinder fields at their end stops."""
    entry = struct.pack("<B3sB3sII", 0x80, b"\xfe\xff\xff", FAT16_LBA, b"\xfe\xff\xff", first, sectors)
    return bytes(446) + entry + bytes(48) + b"\x55\xaa"
