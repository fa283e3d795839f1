# SPDX-License-Identifier: BSD-2-Clause
"""What an image's definition asks of the guest's script `harden`: a root that stays as it is, a kernel that does."""

from __future__ import annotations

from router.description.guest_image import ImageDefinition
from router.guests.cpio import FileSpec, regular


def hardening_files(image: ImageDefinition) -> dict[str, FileSpec]:
    """`/etc/router/image.conf`: lines of KEY=value that a shell reads; only what is switched on."""
    switches = {"READ_ONLY": image.read_only, "LOCK_KERNEL": image.lock_kernel}
    lines = "".join(f"{name}=yes\n" for name, on in switches.items() if on)
    return {"etc/router/image.conf": regular(lines.encode())}
