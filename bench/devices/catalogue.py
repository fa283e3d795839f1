# SPDX-License-Identifier: BSD-2-Clause
"""The devices of the table, each with its exercise, and those that are left out."""

from __future__ import annotations

from bench.devices import gadgets, made, made_faults, made_streams
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

MADE = (
    Device("made mouse", "low-speed mouse", made.mouse),
    Device("made camera", "UVC camera, isochronous", made_streams.camera),
    Device("made camera beside a disk", "UVC camera while a disk is read", made_streams.camera_beside_disk),
    Device("made microphone", "UAC microphone, isochronous", made_streams.microphone),
    Device("made headset", "UAC microphone and loudspeakers at once", made_streams.headset),
    Device("made source and sink", "usbtest with isochronous and interrupt endpoints", made_streams.source_sink),
    Device("made stalling line", "serial line (CDC) whose endpoint halts", made_faults.serial),
    Device("made stalling disk", "disk that answers a cleared halt with one more stall", made_faults.disk),
    Device("made vanishing disk", "disk that leaves in the middle", made_faults.vanishing),
    Device("made odd device", "short, long, late and no answers", made_faults.odd),
    Device("made firmware update", "DFU device that comes back as another one", made.firmware_update),
    Device("made security key", "FIDO key (CTAPHID)", made.security_key),
)
"""Of Python, on the emulated controller by usb-redir."""
STREAMS = frozenset({"made camera", "made camera beside a disk", "made microphone", "made headset"})
"""Those whose data do not wait: they are lost when the guests are too slow."""

DEVICES = (*QEMU_DEVICES, *GADGETS, *MADE)
LEFT_OUT = (
    ("usb-host", "`router run --usb host:VENDOR:PRODUCT`: there was no real device to pass to a guest"),
    ("u2f-passthru, u2f-emulated", "need a real security key, or a QEMU built with libu2f-emu"),
    ("USB Audio Class 2", "the made headset is of class 1, and dummy_hcd has no endpoints for the kernel's gadget"),
    ("isochronous at intervals below 1 ms, SuperSpeed isochronous", "emulated guests are too slow to tell anything"),
    ("ccid-card-emulated", "needs an NSS certificate store; the reader is tried with ccid-card-passthru instead"),
)
"""What is not tried, and why: QEMU's devices, and features of USB."""
INTERMITTENT = (
    (
        "usb-storage, attached and detached again and again, engine kernel",
        "of about 200 cycles in several boots at loads of 10 to 40 one ended the server: as the 54th session of a boot "
        "ended, Debian's kernel 6.1.0-56 said 'soft lockup' of a kernel worker and answered no more; the cause is open",
    ),
    (
        "usb-kbd, taken away 0.2 s after the attach, while the client asks for its descriptors",
        "Debian 13's kernel 6.12.117 in the client: its hub worker waited for ever for a transfer that vhci_hcd did not"
        " end (usb_kill_urb in hub_port_init), so the keyboard, plugged in again and attached there, did not show",
    ),
    (
        "gadget zero, case 24 unlink from a queue of bulk out, engine kernel",
        "one pass of 4 rounds is well; of 100 rounds on end Debian's kernel 6.1.0-56 had an Oops in the server "
        "(usbip-host, stub_rx_loop), the client's process waited for ever, and the device stayed with the client",
    ),
    (
        "gadget zero, case 24 unlink from a queue of bulk out, engine usbfs",
        "500 rounds on end are well: this engine does not use usbip-host",
    ),
    (
        "made source and sink, case 24 unlink from a queue of bulk out",
        "hangs without USB/IP too, and is left out: QEMU's controller forgets all transfers of an endpoint that is "
        "stopped for one of them",
    ),
)
"""What went wrong in some runs only, so that a run without it does not hide it."""
