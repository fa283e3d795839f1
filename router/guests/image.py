# SPDX-License-Identifier: BSD-2-Clause
"""Guest images: a Debian kernel and an initramfs of our own making, cached by everything that goes into them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from router import __version__, files
from router.description import guest_image
from router.description.guest_image import SHIPPED, Definition, image_names, load_definition
from router.errors import DescriptionError
from router.guests.apt import Package
from router.guests.cpio import FileSpec, character_device, directory, regular, symlink
from router.guests.hardening import hardening_files
from router.guests.kernel import Kernel, load_kernel
from router.guests.layers import pack
from router.guests.lock import default_lock, enforce_lock
from router.guests.modules import Module, ModuleSet, modules_alias, modules_dep, modules_softdep, resolve
from router.guests.own import laid_over, own_files
from router.guests.python import program_sources
from router.guests.resolution import RECORD, Packages, Resolution
from router.guests.sbom import spdx_document
from router.guests.sources import Source, machine_sources
from router.guests.userland import Userland, build_userland, shadowed_programs

_FORMAT = 1
Progress = Callable[[str], None]


@dataclass(frozen=True)
class GuestImage:
    """A finished image type. Files are in the cache and shared: copy, do not change them. Sizes in bytes."""

    name: str
    kernel: Path
    kernel_version: str
    kernel_size: int
    kernel_sha256: str
    initramfs: Path
    initramfs_size: int
    initramfs_sha256: str
    python_version: str | None
    packages: tuple[Package, ...]
    modules: tuple[str, ...]
    manifest: Path
    sbom: Path
    dtbs: Path


def build_image(
    wanted: str | Definition,
    *,
    cache: Path | None = None,
    sources: Sequence[Source] | None = None,
    folder: Path = SHIPPED,
    lock: Path | None = None,
    refresh: bool = False,
    progress: Progress = lambda line: None,
) -> GuestImage:
    """The image type `wanted` (of `folder`, if it is a name), from the cache when nothing in it has changed.

    cache: default $XDG_CACHE_HOME/router. sources: default the machine's apt configuration. refresh: ask the package
    sources for newer versions; otherwise those first chosen stand. lock: a lock file to follow, default packages.lock
    in `folder`, if any; the sources are then asked only for what the cache lacks. progress: one line per step.
    Raises DescriptionError for an unknown image or module and for refresh with a lock, HostError for what this
    computer lacks.
    """
    cache = cache or files.cache_folder()
    definition = load_definition(wanted, folder) if isinstance(wanted, str) else wanted
    name = definition.name
    lock = lock or default_lock(folder)
    if lock and refresh:
        raise DescriptionError(
            "the lock fixes the packages, so there are no newer ones to ask for",
            f"record it anew with {RECORD}, or leave --refresh out",
            str(lock),
        )
    packages = Packages(cache, machine_sources() if sources is None else sources, progress, lock is not None)
    resolution = enforce_lock(lock, definition) if lock else packages.resolve(definition, refresh)
    root = cache / "images" / f"{name}-{_key(definition, resolution)[:20]}"
    cached = _read(root)
    if cached:
        return cached
    with files.locked(cache / "images" / f"{name}.lock"):
        return _read(root) or _build(definition, packages, resolution, root, cache, progress)


def kernel_dtbs(
    *,
    cache: Path | None = None,
    sources: Sequence[Source] | None = None,
    folder: Path = SHIPPED,
    lock: Path | None = None,
    progress: Progress = lambda line: None,
) -> Path:
    """The folder of the kernel package's device trees, vendor folders below (`freescale/imx8mq-evk.dtb`)."""
    return _shipped_kernel(cache, sources, folder, lock, progress).dtbs


def kernel_modules(
    *,
    cache: Path | None = None,
    sources: Sequence[Source] | None = None,
    folder: Path = SHIPPED,
    progress: Progress = lambda line: None,
) -> frozenset[str]:
    """The names of all modules that the guests' kernel has, loadable or built in, in the kernel's spelling."""
    kernel = _shipped_kernel(cache, sources, folder, None, progress)
    return kernel.builtin.union(kernel.available)


def _shipped_kernel(
    cache: Path | None, sources: Sequence[Source] | None, folder: Path, lock: Path | None, progress: Progress
) -> Kernel:
    cache = cache or files.cache_folder()
    definition = load_definition(image_names(folder)[0], folder)
    lock = lock or default_lock(folder)
    packages = Packages(cache, machine_sources() if sources is None else sources, progress, lock is not None)
    resolution = enforce_lock(lock, definition) if lock else packages.resolve(definition)
    return _load_kernel(packages, resolution, cache, definition)


def _key(definition: Definition, resolution: Resolution) -> str:
    """Digest of all that the image's bytes follow from: definition, trees, packages, programs, the builder's code."""
    parts = [f"format {_FORMAT}", resolution.digest, definition.name]
    code = [*sorted(Path(__file__).parent.glob("*.py")), Path(guest_image.__file__)]
    for path in [*definition.sources, *code]:
        parts.append(f"{path.name} {files.sha256_of(path.read_bytes())}")
    for guest_path, path in definition.tree_files():
        parts.append(f"{guest_path} {path.stat().st_mode & 0o100} {files.sha256_of(path.read_bytes())}")
    if definition.own:
        parts.append(f"own {definition.image.packages} {definition.own.packages} {definition.image.modules}")
        for guest_path, spec in sorted(own_files(definition.own).items()):
            parts.append(f"{guest_path} {spec.mode} {files.sha256_of(spec.data)}")
    for module, text in sorted(program_sources().items()):
        parts.append(f"{module} {files.sha256_of(text.encode())}")
    return files.sha256_of("\n".join(parts).encode())


def _read(root: Path) -> GuestImage | None:
    manifest = root / "manifest.json"
    if not manifest.is_file():
        return None
    facts = json.loads(manifest.read_bytes())["image"]
    for key in ("kernel", "initramfs", "manifest", "sbom", "dtbs"):
        facts[key] = Path(facts[key])
    facts["packages"] = tuple(Package(**item) for item in facts["packages"])
    facts["modules"] = tuple(facts["modules"])
    image = GuestImage(**facts)
    whole = (
        image.kernel.is_file()
        and image.kernel.stat().st_size == image.kernel_size
        and image.initramfs.is_file()
        and files.sha256(image.initramfs) == image.initramfs_sha256
    )
    return image if whole else None


def _load_kernel(packages: Packages, resolution: Resolution, cache: Path, definition: Definition) -> Kernel:
    debs = packages.fetch(resolution.kernel)
    # All image types share a kernel: with every type's modules at once the package is read once.
    folder = definition.folder
    definitions = [definition, *(load_definition(name, folder) for name in image_names(folder))]
    lists = [(*each.modules(), *each.image.modules.optional, *each.image.modules.disks) for each in definitions]
    wanted = [module for modules in lists for module in modules]
    return load_kernel(list(debs.values()), cache, wanted)


def _build(
    definition: Definition, packages: Packages, resolution: Resolution, root: Path, cache: Path, progress: Progress
) -> GuestImage:
    name = definition.name
    debs = packages.fetch(resolution.packages)
    progress(f"{name}  reading the kernel package")
    kernel = _load_kernel(packages, resolution, cache, definition)
    modules = resolve(
        definition.modules(),
        kernel.available,
        kernel.builtin,
        kernel.module,
        definition.place,
        kernel.aliases,
        definition.image.modules.optional,
    )
    progress(f"{name}  unpacking {len(resolution.userland)} packages")
    userland = build_userland(definition, {p.name: debs[p.name] for p in resolution.userland}, packages.host_python)
    debian = {path: spec for path, spec in userland.files.items() if path not in userland.own | userland.added}
    own = {**_skeleton(name, max(kernel.date, userland.date)), **{path: userland.files[path] for path in userland.own}}
    own["usr/lib/router/programs"] = regular(shadowed_programs(userland.files).encode())
    own |= hardening_files(definition.image)
    layers = [debian, _module_files(kernel, modules), {**own, **_load_lists(definition, kernel, modules)}]
    if definition.own:
        # In layers of their own, so that the image that is extended is not compressed again.
        layers.append({path: userland.files[path] for path in userland.added})
        layers.append(laid_over(own_files(definition.own), layers, definition.place))
    size = sum(len(spec.data) for layer in layers for spec in layer.values())
    progress(f"{name}  compressing {size / 1e6:.1f} MB")
    packed = pack(layers, cache)
    root.mkdir(parents=True, exist_ok=True)
    files.write(root / "initramfs.zst", packed)
    image = GuestImage(
        name=name,
        kernel=kernel.image,
        kernel_version=kernel.version,
        kernel_size=kernel.image.stat().st_size,
        kernel_sha256=files.sha256(kernel.image),
        initramfs=root / "initramfs.zst",
        initramfs_size=len(packed),
        initramfs_sha256=files.sha256_of(packed),
        python_version=userland.python_version,
        packages=resolution.packages,
        modules=tuple(module.name for module in modules.modules),
        manifest=root / "manifest.json",
        sbom=root / "sbom.spdx.json",
        dtbs=kernel.dtbs,
    )
    used = set(userland.owners.values()) | {package.name for package in resolution.kernel}
    document = spdx_document(
        name,
        image.initramfs_sha256,
        kernel.version,
        [package for package in resolution.packages if package.name in used],
        userland.copyrights | kernel.copyrights,
        __version__,
    )
    files.write(image.sbom, json.dumps(document, indent=1).encode())
    _write_manifest(image, {path: spec for layer in layers for path, spec in layer.items()}, userland)
    progress(f"{name}  {len(packed) / 1e6:.1f} MB initramfs, kernel {kernel.version}")
    return image


def _skeleton(name: str, date: int) -> dict[str, FileSpec]:
    """Folders to mount on, and the device nodes that init needs before devtmpfs is there.

    date: seconds since 1970; a guest's clock never starts earlier.
    """
    files = {path: directory() for path in ("dev", "proc", "sys", "run", "root", "mnt", "etc/router", "var")}
    files["tmp"] = directory(0o1777)
    # The kernel calls /sbin/modprobe by this name.
    files["sbin"] = symlink("bin")
    # Of the overlay: a guest's names for the others.
    files["etc/hosts"] = symlink("router/hosts")
    files["etc/mtab"] = symlink("../proc/self/mounts")
    files["var/run"] = symlink("../run")
    files["dev/console"] = character_device(5, 1)
    files["dev/null"] = character_device(1, 3, 0o666)
    files["dev/kmsg"] = character_device(1, 11)
    files["etc/router/image"] = regular(f"{name}\n".encode())
    files["etc/router/date"] = regular(f"{date}\n".encode())
    return files


def _module_files(kernel: Kernel, modules: ModuleSet) -> dict[str, FileSpec]:
    base = f"lib/modules/{kernel.version}"
    files = {
        f"{base}/{module.path}": regular(kernel.module(kernel.available[module.name])) for module in modules.modules
    }
    files[f"{base}/modules.dep"] = regular(modules_dep(modules).encode())
    files[f"{base}/modules.alias"] = regular(modules_alias(modules).encode())
    files[f"{base}/modules.softdep"] = regular(modules_softdep(modules).encode())
    return files


def _load_lists(definition: Definition, kernel: Kernel, modules: ModuleSet) -> dict[str, FileSpec]:
    """For init: the modules of each stage, one path a line, in the order in which to load them."""
    files = {}
    loaded: set[str] = set()
    for stage, names in (("boot", definition.image.modules.boot), ("late", definition.image.modules.late)):
        order = [module for module in _in_asked_order(modules, names) if module.name not in loaded]
        loaded |= {module.name for module in order}
        lines = "".join(f"/lib/modules/{kernel.version}/{module.path}\n" for module in order)
        files[f"etc/router/modules.{stage}"] = regular(lines.encode())
    return files


def _in_asked_order(modules: ModuleSet, names: Sequence[str]) -> list[Module]:
    ordered: dict[str, Module] = {}
    for name in names:
        for module in modules.order([name]):
            ordered.setdefault(module.name, module)
    return list(ordered.values())


def _write_manifest(image: GuestImage, entries: dict[str, FileSpec], userland: Userland) -> None:
    facts = asdict(image)
    for key in ("kernel", "initramfs", "manifest", "sbom", "dtbs"):
        facts[key] = str(facts[key])
    listing = {
        path: {"size": len(spec.data), "mode": f"{spec.mode:o}", "package": userland.owners.get(path)}
        for path, spec in sorted(entries.items())
    }
    text = json.dumps({"format": _FORMAT, "image": facts, "files": listing}, indent=1)
    files.write(image.manifest, text.encode())
