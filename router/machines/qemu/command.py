# SPDX-License-Identifier: BSD-2-Clause
"""QEMU's command line for one guest of a split run. Pure: what was built goes in, a list of words comes out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from router.boards.qemu import RAM_START
from router.machines.qemu import usb
from router.pipeline.layout import GuestFiles, GuestLayout
from router.plan.models import GuestPlan, VirtioDevice, VirtioKind


@dataclass(frozen=True)
class GuestSockets:
    """Unix sockets that QEMU connects to. `early` carries the kernel's log from before it has its console driver."""

    net: Path
    """Of the switch, for the guest's Ethernet or vsock device."""
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


def way_to_others(guest: GuestPlan, device: VirtioDevice, socket: Path) -> list[str]:
    """The guest's Ethernet or vsock device, which the switch behind that socket serves."""
    at = f"bus=virtio-mmio-bus.{device.slot}"
    if device.kind is VirtioKind.VSOCK:
        chardev = ["-chardev", f"socket,id=vsock,path={usb.escape(socket)}"]
        # The switch answers for the CID: QEMU asks it (VHOST_USER_GET_CONFIG).
        return [*chardev, "-device", f"vhost-user-vsock-device,{at},chardev=vsock"]
    backend = ["-netdev", f"stream,id=net,server=off,addr.type=unix,addr.path={usb.escape(socket)}"]
    return [*backend, "-device", f"virtio-net-device,{at},netdev=net,mac={guest.mac},mq=off"]


def memory(guest: GuestPlan, shared: bool) -> list[str]:
    """The machine and its RAM. shared: the switch reads and writes it (vhost-user), so it is a file without a name."""
    machine, size = "virt,gic-version=2,highmem=off", f"{(guest.ram.end - RAM_START) >> 20}M"
    if not shared:
        return ["-machine", machine, "-m", size]
    backend = f"memory-backend-memfd,id=ram,size={size},share=on"
    return ["-object", backend, "-machine", f"{machine},memory-backend=ram", "-m", size]


def may_reboot(guest: GuestPlan) -> bool:
    """Whether the guest's QEMU starts it again when it reboots: one that has lost its root file system does."""
    return bool(guest.root)


def guest_command(
    qemu: str,
    guest: GuestPlan,
    files: GuestFiles,
    stub: Path,
    sockets: GuestSockets,
    plugs: tuple[usb.UsbPlug, ...] | None = None,
) -> list[str]:
    """The words that start one guest; `plugs` are the devices on its USB controller (None: it has no such)."""
    way, console, control = guest.virtio
    out = [
        *(qemu, "-nodefaults", "-no-user-config", "-display", "none", "-name", guest.name),
        *memory(guest, shared=way.kind is VirtioKind.VSOCK),
        *("-cpu", "cortex-a53", "-smp", str(guest.vcpus)),
        *(() if may_reboot(guest) else ("-no-reboot",)),
        *("-global", "virtio-mmio.force-legacy=false"),
        *("-chardev", f"socket,id=early,path={usb.escape(sockets.early)},server=off", "-serial", "chardev:early"),
        *(
            "-chardev",
            f"socket,id=qmp,path={usb.escape(sockets.monitor)},server=off",
            "-mon",
            "chardev=qmp,mode=control",
        ),
        *way_to_others(guest, way, sockets.net),
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
