# SPDX-License-Identifier: BSD-2-Clause
"""The devices of the table, each with its exercise, and those that are left out."""

from __future__ import annotations

from bench.devices import gadgets
from bench.devices.hub import hub, keyboard_behind_hub
from bench.devices.input import keyboard, mouse, tablet, wacom
from bench.devices.models import Device
from bench.devices.network import net
from bench.devices.serial_adapter import serial
from bench.devices.sound import audio
from bench.devices.storage import disk, uas
from bench.devices.usbfs_devices import ccid, mtp
from bench.devices.usbtest import usbtest

BRAILLE = "modprobe usbserial; echo 0403 fe72 >/sys/bus/usb-serial/drivers/ftdi_sio/new_id"

QEMU_DEVICES = (
    Device("usb-kbd", "keyboard", keyboard),
    Device("usb-mouse", "mouse", mouse),
    Device("usb-tablet", "tablet", tablet),
    Device("usb-wacom-tablet", "graphics tablet", wacom),
    Device("usb-storage", "disk, bulk-only", disk("storage", "46f4:0001")),
    Device("usb-bot", "disk, bulk-only, SCSI disk behind it", disk("bot", "46f4:0001")),
    Device("usb-uas", "disk, USB attached SCSI", uas),
    Device("usb-serial", "serial adapter (FTDI)", serial("serial", "0403:6001")),
    Device("usb-braille", "braille display (FTDI)", serial("braille", "0403:fe72", BRAILLE)),
    Device("usb-ccid", "card reader, ccid-card-passthru", ccid),
    Device("usb-mtp", "media player", mtp),
    Device("usb-net", "network adapter", net),
    Device("usb-audio", "loudspeaker", audio),
    Device("usb-hub", "hub of 8 ports", hub),
    Device("usb-kbd behind usb-hub", "keyboard", keyboard_behind_hub),
)

GADGET = ("dummy_hcd", "libcomposite")
GADGETS = (
    Device("gadget zero", "source, sink and loopback; usbtest", usbtest, (*GADGET, "usb_f_ss_lb", "usbtest")),
    Device("gadget mass storage", "disk, bulk-only", gadgets.mass_storage, (*GADGET, "usb_f_mass_storage")),
    Device("gadget ACM", "serial line (CDC)", gadgets.serial, (*GADGET, "usb_f_acm")),
    Device("gadget ECM", "network adapter (CDC)", gadgets.network("ecm", "cdc_ether"), (*GADGET, "usb_f_ecm")),
    Device("gadget NCM", "network adapter (CDC)", gadgets.network("ncm", "cdc_ncm"), (*GADGET, "usb_f_ncm")),
    Device("gadget RNDIS", "network adapter", gadgets.network("rndis", "rndis_host"), (*GADGET, "usb_f_rndis")),
    Device("gadget HID", "keyboard", gadgets.keyboard, (*GADGET, "usb_f_hid")),
    Device("gadget printer", "printer", gadgets.printer, (*GADGET, "usb_f_printer")),
    Device(
        "gadget composite",
        "disk and serial line in one",
        gadgets.composite,
        (*GADGET, "usb_f_mass_storage", "usb_f_acm"),
    ),
    Device("gadget UAC2", "sound card", gadgets.sound, (*GADGET, "usb_f_uac2")),
    Device("gadget UVC", "camera", gadgets.camera, (*GADGET, "usb_f_uvc")),
)

DEVICES = (*QEMU_DEVICES, *GADGETS)
LEFT_OUT = (
    ("usb-host", "passes a real device of this computer to a guest"),
    ("usb-redir", "needs another computer that has the device"),
    ("u2f-passthru, u2f-emulated", "need a real security key, or a QEMU built with libu2f-emu"),
    ("ccid-card-emulated", "needs an NSS certificate store; the reader is tried with ccid-card-passthru instead"),
    ("isochronous transfers to the client", "no emulated device makes them, and dummy_hcd has no endpoints for them"),
    ("low speed", "no emulated device has it"),
)
"""What is not tried, and why: QEMU's devices, and features of USB."""
INTERMITTENT = (
    (
        "gadget zero, case 24 unlink from a queue of bulk out, engine kernel",
        "hung in an earlier run, and the client kept the device after it was unplugged",
    ),
)
"""What went wrong in some runs only, so that a run without it does not hide it."""
