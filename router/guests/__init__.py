# SPDX-License-Identifier: BSD-2-Clause
"""Guest images out of Debian packages, the overlays that tell guests apart, the control channel to a running guest."""

from router.description.guest_image import extend_definitions, image_names
from router.guests.cpio import FileSpec, build_overlay, character_device, directory, regular, symlink, write_cpio
from router.guests.image import GuestImage, build_image, kernel_dtbs, kernel_modules
from router.guests.lock import record_lock

__all__ = [
    "FileSpec",
    "GuestImage",
    "build_image",
    "build_overlay",
    "character_device",
    "directory",
    "extend_definitions",
    "image_names",
    "kernel_dtbs",
    "kernel_modules",
    "record_lock",
    "regular",
    "symlink",
    "write_cpio",
]
