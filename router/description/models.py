# SPDX-License-Identifier: BSD-2-Clause
"""The description as typed, frozen models: what a user may write, and nothing else.

Values are what the user means (bytes, integers, addresses), parsed from the forms of `router.description.values`.
What one field alone cannot tell (a rule that names an unknown guest, say) is checked in `router.description.semantics`.
"""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StrictBool, StrictInt, Tag

from router.description.guest_image import WITH_DISKS
from router.description.sdk_versions import SdkVersion
from router.description.values import (
    Address,
    AllowRule,
    BootArgs,
    ByteSize,
    DeviceId,
    DeviceName,
    DiskName,
    DiskWait,
    File,
    GuestName,
    Label,
    Mac,
    Microseconds,
    ModuleName,
    Name,
    PackageName,
    PartSize,
    PartUuid,
    Serial,
    Subnet,
    UsbClass,
    UsbClasses,
    UsbPath,
)

USBIP_PORT = 3240
"""TCP port of the USB/IP service, assigned by IANA."""
DISK_PORT = 4420
"""First TCP port of a server's disks, assigned to NVMe over Fabrics by IANA. Each client has a port of its own there,
`DISK_PORT` plus its place among the guests: the switch enforces who reaches it, and nothing else names the client."""


ETHERNET_HEADER = 14
"""Bytes before the packet: two addresses and the type (IEEE 802.3); the guests see no check sequence."""


class StrictModel(BaseModel):
    """Frozen; unknown fields are errors; no silent conversions beyond those that a field's type names."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class Microkit(StrictModel):
    """Which Microkit SDK and which of its configurations the system is built with."""

    sdk: SdkVersion = SdkVersion.AUTO
    """`auto` takes the newest SDK installed (and, with none installed, plans for the newest known)."""
    config: Literal["debug", "release", "benchmark", "smp-debug", "smp-release", "smp-benchmark"] = "release"
    """The kernel's configuration; the `smp-` ones need SDK 2.1.0 or newer. Only `release` isolates guests: kernels of
    the others take debug calls from every guest."""


class UsbController(StrictModel):
    """The virtual USB host controller that a client guest sees."""

    version: Literal[2, 3] = 3
    """USB 2 (high-speed root ports; SuperSpeed devices stay away) or USB 3 (SuperSpeed root ports as well)."""
    ports: Annotated[StrictInt, Field(ge=1, le=15)] = 8
    """Root ports of each speed."""


class ImageFiles(StrictModel):
    """A guest image of the user's own, instead of one from guest-images/. Paths are relative to the description."""

    kernel: File
    """An arm64 Linux `Image`, also packed (gzip, xz, bzip2, lzma, zstd), as an EFI zboot image or as a uImage."""
    initramfs: File
    """An initramfs that Linux unpacks; the guest's own settings are appended to it as a second archive."""
    role: Literal["server", "client", "none"] = "none"
    """What the guest does for USB: export devices, use them, or neither."""


class ExtendedImage(StrictModel):
    """An image under guest-images/ with more in it. Paths are relative to the description, and stay in its folder."""

    extends: str
    """The image to start from; what the guest does for USB comes with it."""
    packages: tuple[PackageName, ...] = ()
    """Debian packages, with all files but their documentation and the libraries that their programs need."""
    modules: tuple[ModuleName, ...] = ()
    """Kernel modules that modprobe finds, by modprobe's names or by an alias such as `fs-btrfs`. In an image that locks
    its kernel (`usb-server`) they are loaded before that."""
    files: File | None = None
    """A folder whose content is laid over the image's root."""
    run: File | None = None
    """A program for the guest's shell, started once when all drivers are loaded."""


def kind_of_image(value: object) -> str:
    """Which of the three forms an image is given in."""
    if isinstance(value, ExtendedImage) or (isinstance(value, dict) and "extends" in value):
        return IMAGE_EXTENDED
    return IMAGE_FILES if isinstance(value, dict | ImageFiles) else IMAGE_NAME


IMAGE_NAME, IMAGE_FILES, IMAGE_EXTENDED = IMAGE_FORMS = ("(name)", "(files)", "(extended)")
"""How the forms are called in the locations of Pydantic's errors; no field can be named so."""

Image = Annotated[
    Annotated[str, Tag(IMAGE_NAME)]
    | Annotated[ImageFiles, Tag(IMAGE_FILES)]
    | Annotated[ExtendedImage, Tag(IMAGE_EXTENDED)],
    Discriminator(kind_of_image),
]


class OnExit(StrEnum):
    """What the VMM does when its guest crashes, powers off or resets."""

    RESTART = "restart"
    STOP = "stop"


class Root(StrictModel):
    """The root file system that a client switches to, on a disk that is routed to it; one of the two names it."""

    label: Label | None = None
    """The label of the file system."""
    partuuid: PartUuid | None = None
    """The identifier of the partition, as `blkid` prints it."""


class Guest(StrictModel):
    """One Linux guest."""

    image: Image
    """The name of an image under guest-images/, such an image with more in it, files of your own, or the name of a YAML
    file with one of the last two, such as `./my-image.yaml`."""
    memory: ByteSize = 512 << 20
    """RAM, such as `512 MiB`: a multiple of 2 MiB, enough for the kernel and the initramfs. Kept in bytes."""
    vcpus: Annotated[StrictInt, Field(ge=1, le=4)] = 1
    """Virtual CPUs."""
    address: Address | None = None
    """IPv4 address on the virtual Ethernet; by default the next free one of the subnet."""
    mac: Mac | None = None
    """Ethernet address; by default a locally administered one made from the IPv4 address."""
    passthrough: tuple[DeviceName, ...] = ()
    """Devices of the board that the guest owns: node name, full path, alias or &label in the board's device tree."""
    usb: UsbController = UsbController()
    """The virtual controller; only for guests that receive USB devices."""
    automount: StrictBool = False
    """With `true`, the file systems of routed disks are mounted below /media; for guests that receive USB devices."""
    disk_wait: DiskWait | None = None
    """How long reads and writes of disks that come as blocks wait for a server that is away, such as `30 s`; then they
    fail. By default 120 s. Kept in seconds."""
    root: Root | None = None
    """A root file system on a routed disk, which the guest starts from once the disk is there."""
    bootargs: BootArgs = ""
    """Appended to the kernel command line."""
    smc: tuple[Annotated[StrictInt, Field(ge=0, le=0xFFFFFFFF)], ...] = ()
    """SMC function identifiers forwarded to the firmware; all others are answered NOT_SUPPORTED."""
    on_exit: OnExit | None = None
    """What happens when the guest crashes or resets. By default it is started again, unless it owns a device that can
    write memory and that its VMM cannot stop. A guest that powers itself off stays off."""
    priority: Annotated[StrictInt, Field(ge=1, le=199)] | None = None
    """Scheduling priority of the guest's vCPUs."""
    budget: Microseconds | None = None
    """Time that each vCPU may run in every period, such as `5 ms`. Kept in microseconds."""
    period: Microseconds | None = None
    """Length of the period that `budget` refers to, such as `10 ms`. Kept in microseconds."""
    cpu: Annotated[StrictInt, Field(ge=0, le=3)] | None = None
    """Core that the guest and its VMM run on; needs an `smp-` configuration."""
    trusted: StrictBool = True
    """With `false`, for a guest that exports devices: the guests that use them check all that it answers before their
    kernels see it. This costs throughput."""


class Queue(StrictModel):
    """Room for what a guest sends: `depth` times `buffer` bytes, in 2 MiB pages, for at most 256 frames at a time.

    On Microkit a frame takes as many contiguous bytes as it has, whatever the size of a buffer.
    """

    depth: Annotated[StrictInt, Field(ge=16, le=1024)] = 512
    """Buffers of one sender, a power of two. More than 256 hold no more frames, but more large ones."""
    buffer: ByteSize = 2048
    """Size of one buffer, a power of two from 2 KiB to 128 KiB; the largest packet and its header must fit in one."""


class Transport(StrEnum):
    """What carries USB/IP, and all other conversations, between the guests."""

    TCP = "tcp"
    """A virtual Ethernet with IPv4."""
    VSOCK = "vsock"
    """virtio-vsock: no guest has a network interface or an address."""


class Network(StrictModel):
    """How the guests reach each other: default deny."""

    transport: Transport = Transport.TCP
    """`tcp`: a virtual Ethernet. `vsock`: virtio-vsock, without any network interface."""
    subnet: Subnet = IPv4Network("10.77.0.0/24")
    """Addresses come from here; the first host address stays unused."""
    mtu: Annotated[StrictInt, Field(ge=576, le=65000)] = 1500
    """Largest IP packet on the virtual Ethernet, in bytes."""
    allow: tuple[AllowRule, ...] | None = None
    """`client -> server tcp/3240`, or `client -> server vsock/3240` with `transport: vsock`; by default just the USB/IP
    conversations that the `usb` rules need."""
    queue: Queue = Queue()
    """Shape of the queues between a guest's VMM and the switch."""


class Road(StrEnum):
    """How a USB device gets to its guest."""

    USB = "usb"
    """As a USB device, by USB/IP: the client's own drivers take it."""
    BLOCK = "block"
    """As a block device, by NVMe over TCP: the server's drivers take the disk."""


class UsbRule(StrictModel):
    """Gives the devices that match to one guest. All matching fields that are present must match."""

    device: DeviceId | None = None
    """`vendor:product`, four hexadecimal digits each."""
    path: UsbPath | None = None
    """The USB port: bus and port chain as Linux names them, such as `1-1.4`."""
    serial: Serial | None = None
    """The serial number that the device reports."""
    class_: Annotated[UsbClass | None, Field(alias="class")] = None
    """A device or interface class: a name such as `hid` or `mass-storage`, or its number."""
    only: UsbClasses | None = None
    """Interface classes: the device may have interfaces of these classes and no others, in all its configurations and
    alternate settings. `only: hid` keeps a keyboard that hides a disk out."""
    to: GuestName
    """The guest that gets the device."""
    source: Annotated[GuestName | None, Field(alias="from")] = None
    """The guest that owns the controller; needed only when several do."""
    port: Annotated[StrictInt, Field(ge=1, le=15)] | None = None
    """Root port of the guest's virtual controller, from 1; by default the first free one."""
    road: Annotated[Road, Field(alias="as")] = Road.USB
    """`usb`: the guest gets the USB device. `block`, for disks: the server's drivers take the disk, and the guest gets
    a block device, which is faster."""
    name: DiskName | None = None
    """With `as: block`: what the disk is called in the guest, below /dev/disk/by-router. By default `usb-` and the
    disk's USB port in the server, such as `usb-1-1.4`."""


class DiskMatch(StrictModel):
    """Which physical disk. All fields that are present must match."""

    device: DeviceId | None = None
    """`vendor:product`, four hexadecimal digits each."""
    path: UsbPath | None = None
    """The USB port: bus and port chain as Linux names them, such as `1-1.4`."""
    serial: Serial | None = None
    """The serial number that the device reports."""
    class_: Annotated[UsbClass | None, Field(alias="class")] = None
    """`mass-storage`: any disk."""


class DiskPart(StrictModel):
    """A part of a physical disk that one guest gets as a disk of its own. `router disk prepare` makes the parts."""

    name: DiskName
    """What the disk is called: below /dev/disk/by-router in the guest, and in the physical disk's partition table."""
    to: GuestName
    """The guest that gets it."""
    source: Annotated[GuestName | None, Field(alias="from")] = None
    """The guest that owns the controller; needed only when several do."""
    on: DiskMatch
    """The physical disk that it is a part of. Disks with the same `on` are on the same physical disk."""
    size: PartSize
    """Its size, such as `2 GiB`: a multiple of 1 MiB. Kept in bytes."""

    def as_rule(self) -> UsbRule:
        """The USB rule that gives the guest the whole physical disk as blocks: what holds for that holds here."""
        match = self.on
        return UsbRule.model_validate(
            {
                "device": match.device,
                "path": match.path,
                "serial": match.serial,
                "class": match.class_,
                "to": self.to,
                "from": self.source,
                "as": Road.BLOCK,
                "name": self.name,
            }
        )


class Description(StrictModel):
    """One whole system."""

    system: Name
    """The system's name: the build folder is called so."""
    board: str
    """A board that `router board` lists."""
    device_tree: File | None = None
    """A device tree blob to use as the board's instead of the one that the board names."""
    microkit: Microkit = Microkit()
    """Which Microkit SDK and which of its configurations the system is built with."""
    guests: Annotated[dict[GuestName, Guest], Field(min_length=1)]
    """The guests, in the order in which addresses and channels are given out: append new ones."""
    network: Network = Network()
    """How the guests reach each other: default deny."""
    usb: tuple[UsbRule, ...] = ()
    """Which USB device goes to which guest. What no rule names stays in the server."""
    disks: tuple[DiskPart, ...] = ()
    """Named disks for guests, each a part of a physical disk."""

    @property
    def block_rules(self) -> tuple[UsbRule, ...]:
        """The rules by which guests get disks as blocks, whole ones and parts."""
        whole = tuple(rule for rule in self.usb if rule.road is Road.BLOCK)
        return (*whole, *(part.as_rule() for part in self.disks))


OWN_FILES = "files:"


def guests_with_disks(description: Description) -> set[str]:
    """The guests that export disks as blocks, get them, or could be given them while the system runs: those that the
    switch lets to their port for that. Where a rule names no server, it is the guest with hardware."""
    owners = {name for name, guest in description.guests.items() if guest.passthrough}
    rules = description.block_rules
    servers = {name for rule in rules for name in ((rule.source,) if rule.source else owners)}
    ports = {name: DISK_PORT + place for place, name in enumerate(description.guests)}
    readers = {
        allow.source
        for allow in description.network.allow or ()
        if allow.destination in servers
        and allow.protocol == "tcp"
        and allow.port == ports[allow.source]
        # Files of the user's own have what they have.
        and not isinstance(description.guests[allow.source].image, ImageFiles)
    }
    return servers | readers | {rule.to for rule in rules}


def image_names_of(description: Description) -> dict[str, str]:
    """How the build calls the image of each guest. Guests whose images are equal share one.

    Files of the user's own are `files:GUEST`, with the first guest that names these files, or `files:KERNEL+INITRAMFS`
    with the first that names each.
    """
    first: dict[tuple[ExtendedImage, bool] | Path, str] = {}
    names = {}
    with_disks = guests_with_disks(description)
    for name, guest in description.guests.items():
        more = name in with_disks
        match guest.image:
            case str():
                names[name] = guest.image + (WITH_DISKS if more else "")
            case ExtendedImage():
                names[name] = f"own-{first.setdefault((guest.image, more), name)}"
            case ImageFiles(kernel=kernel, initramfs=initramfs):
                owners = (first.setdefault(kernel, name), first.setdefault(initramfs, name))
                names[name] = OWN_FILES + "+".join(dict.fromkeys(owners))
    return names
