# SPDX-License-Identifier: BSD-2-Clause
"""QEMU's command line for one guest of a split run. Pure: what was built goes in, a list of words comes out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from router.boards.qemu import RAM_START
from router.machines.qemu import usb
from router.pipeline.layout import GuestFiles, GuestLayout
from router.plan.models import GuestPlan, VirtioDevice


@dataclass(frozen=True)
class GuestSockets:
    """Unix sockets that QEMU connects to. `early` carries the kernel's log from before it has its console driver."""

    net: Path
    console: Path
    control: Path
    monitor: Path
    early: Path


def console_device(device: VirtioDevice, socket: Path) -> list[str]:
    """A virtio console without MULTIPORT (virtio 1.2, 5.3), so that Linux makes one hvc of it."""
    bus = f"{device.name}-bus"
    return [
        "-device",
        f"virtio-serial-device,id={bus},bus=virtio-mmio-bus.{device.slot},max_ports=1",
        "-chardev",
        f"socket,id={device.name},path={usb.escape(socket)},server=off",
        "-device",
        f"virtconsole,bus={bus}.0,chardev={device.name}",
    ]


def guest_command(
    qemu: str,
    guest: GuestPlan,
    files: GuestFiles,
    stub: Path,
    sockets: GuestSockets,
    plugs: tuple[usb.UsbPlug, ...] | None = None,
) -> list[str]:
    """The words that start one guest; `plugs` are the devices on its USB controller (None: it has no such)."""
    net, console, control = guest.virtio
    out = [
        *(qemu, "-nodefaults", "-no-user-config", "-display", "none", "-name", guest.name),
        *("-machine", "virt,gic-version=2,highmem=off", "-cpu", "cortex-a53", "-smp", str(guest.vcpus)),
        *("-m", f"{(guest.ram.end - RAM_START) >> 20}M"),
        # A guest that has lost its root file system starts again.
        *(() if guest.root else ("-no-reboot",)),
        *("-global", "virtio-mmio.force-legacy=false"),
        *("-chardev", f"socket,id=early,path={usb.escape(sockets.early)},server=off", "-serial", "chardev:early"),
        *(
            "-chardev",
            f"socket,id=qmp,path={usb.escape(sockets.monitor)},server=off",
            "-mon",
            "chardev=qmp,mode=control",
        ),
        *("-netdev", f"stream,id=net,server=off,addr.type=unix,addr.path={usb.escape(sockets.net)}"),
        *("-device", f"virtio-net-device,bus=virtio-mmio-bus.{net.slot},netdev=net,mac={guest.mac},mq=off"),
        *console_device(console, sockets.console),
        *console_device(control, sockets.control),
    ]
    layout = files.layout
    for path, address in (
        (files.kernel, layout.kernel.start),
        (files.base, layout.base.start),
        (files.overlay, layout.overlay.start),
        (files.tree, layout.tree.start),
    ):
        out += ["-device", f"loader,file={usb.escape(path)},addr={address:#x},force-raw=on"]
    # The stub lies behind the device tree, in the large page that nothing else uses, and the CPU starts there.
    out += ["-device", f"loader,file={usb.escape(stub)},addr={stub_address(layout):#x},force-raw=on"]
    out += ["-device", f"loader,addr={stub_address(layout):#x},cpu-num=0"]
    if plugs is not None:
        out += usb.arguments(plugs)
    return out


def stub_address(layout: GuestLayout) -> int:
    """The first 4 KiB boundary behind the device tree, whose region is a whole large page."""
    return (layout.tree.end + 0xFFF) & ~0xFFF
