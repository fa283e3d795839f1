# SPDX-License-Identifier: BSD-2-Clause
"""`router build` makes programs and loader.img with every SDK that is installed, once, and says what it cannot do."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from router import files
from router.description.load import load
from router.errors import HostError
from router.microkit.loader_image import first_error, run_tool
from router.pipeline.build import build
from router.pipeline.inputs import Planned, plan_loaded
from tests.sel4.needs import need_sdk
from tests.support.end_to_end import build_text

QEMU = """
system: small
board: qemu
microkit: {{sdk: {sdk}, config: {config}}}
guests:
  server: {{image: usb-server, memory: 256 MiB, passthrough: [pcie@3f000000]}}
  client: {{image: usb-client, memory: {memory}}}
usb: [{{class: mass-storage, to: client}}]
"""
MAAXBOARD = QEMU.replace("board: qemu", "board: maaxboard").replace("pcie@3f000000", "usb@38100000, usb@38200000")
EVKS = {"imx8mp_evk": "usb@38200000", "imx8mq_evk": "usb@38200000", "imx8mm_evk": "usb@32e40000"}
TEXTS = {
    "qemu": QEMU,
    "maaxboard": MAAXBOARD,
    **{evk: QEMU.replace("board: qemu", f"board: {evk}").replace("pcie@3f000000", usb) for evk, usb in EVKS.items()},
}
SDK_BOARDS = {"qemu": "qemu_virt_aarch64"}


def describe(folder: Path, *, sdk: str = "auto", config: str = "debug", memory: str = "256 MiB") -> Path:
    path = folder / "small.yaml"
    path.write_text(QEMU.format(sdk=sdk, config=config, memory=memory))
    return path


def plan(path: Path) -> Planned:
    return plan_loaded(load(path), files.cache_folder(), lambda _: None)


@pytest.mark.parametrize("config", ["debug", "release"])
@pytest.mark.parametrize("board", TEXTS)
@pytest.mark.parametrize("sdk", ["2.0.1", "2.3.0"])
def test_every_board_sdk_and_configuration_gets_an_image(board: str, sdk: str, config: str, tmp_path: Path) -> None:
    need_sdk(sdk, SDK_BOARDS.get(board, board), config)
    built = build_text(TEXTS[board].format(sdk=sdk, config=config, memory="256 MiB"), tmp_path, loader_image=True)
    image = built.loader_image
    assert image is not None
    assert image.size < 50_000_000  # both guests' images once: a second copy of the kernel alone would be over
    assert (built.folder / "report.txt").stat().st_size > 1000
    loaded = {name: each.loaded for name, each in image.programs.items()}
    assert loaded["vmm_server"] < 64 << 10
    assert loaded["vmm_client"] < 64 << 10
    assert loaded["vswitch"] < 16 << 10
    assert ("images" in loaded) == (sdk == "2.0.1")
    assert f"SDK {sdk} {config} → {image.path} " in image.summary()


def test_a_second_build_does_nothing_and_takes_no_time(tmp_path: Path) -> None:
    need_sdk()
    path = describe(tmp_path)
    build(plan(path), tmp_path / "build", files.cache_folder(), lambda _: None)
    before = {each: each.stat().st_mtime_ns for each in (tmp_path / "build").rglob("*") if each.is_file()}
    steps: list[str] = []
    took = []
    for _ in range(3):
        start = time.process_time()
        build(plan(path), tmp_path / "build", files.cache_folder(), steps.append)
        took.append(time.process_time() - start)
    assert min(took) < 1, took
    assert {each: each.stat().st_mtime_ns for each in before} == before
    assert not [step for step in steps if "compil" in step or "loader.img" in step]


def test_a_change_compiles_and_links_only_what_it_changes(tmp_path: Path) -> None:
    need_sdk()
    build(plan(describe(tmp_path)), tmp_path / "build", files.cache_folder(), lambda _: None)

    def ages(pattern: str) -> dict[str, int]:
        return {each.name: each.stat().st_mtime_ns for each in (tmp_path / "build").glob(pattern)}

    objects, programs, image = ages("objects/*/*.o"), ages("programs/*.elf"), ages("loader.img")
    build(plan(describe(tmp_path, memory="320 MiB")), tmp_path / "build", files.cache_folder(), lambda _: None)
    changed = {name for name, age in ages("objects/*/*.o").items() if objects[name] != age}
    assert changed == {"generated-vmm_client.c.o"}
    assert {name for name, age in ages("programs/*.elf").items() if programs[name] != age} == {"vmm_client.elf"}
    assert ages("loader.img") != image


def test_an_image_or_a_report_that_no_run_of_ours_made_is_made_anew(tmp_path: Path) -> None:
    """Else the image that boots would not be the one whose capabilities are judged."""
    need_sdk()
    path, folder = describe(tmp_path), tmp_path / "build"
    build(plan(path), folder, files.cache_folder(), lambda _: None)
    image, report = folder / "loader.img", folder / "report.txt"
    honest = image.read_bytes(), report.read_bytes()
    for changed in (image, report):
        changed.write_bytes(changed.read_bytes() + b"more")
        steps: list[str] = []
        build(plan(path), folder, files.cache_folder(), steps.append)
        assert [step for step in steps if "loader.img" in step]
        assert (image.read_bytes(), report.read_bytes()) == honest


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_what_the_compiler_refuses_is_said_and_its_words_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_sdk()
    refuse = (
        'case "$*" in *--version*) echo "cc 1.0"; exit;; esac; printf "x.c: note: so\\nx.c:3: error: no\\n" >&2; exit 1'
    )
    for tool in ("gcc", "ld"):
        program(tmp_path / "bin", f"aarch64-linux-gnu-{tool}", refuse)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(HostError) as caught:
        build(plan(describe(tmp_path)), tmp_path / "build", files.cache_folder(), lambda _: None)
    assert caught.value.message.startswith("aarch64-linux-gnu-gcc fails at compiling ")
    assert caught.value.message.endswith(": x.c:3: error: no")
    log = tmp_path / "build/objects/compiler.log"
    assert str(log) in str(caught.value.hint)
    assert "x.c: note: so" in log.read_text()
    assert not list((tmp_path / "build").rglob("*.o"))
    assert not (tmp_path / "build/loader.img").exists()


def test_clang_and_lld_do_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_sdk()
    from router.microkit import toolchain

    monkeypatch.setattr(toolchain, "GCC", ())
    try:
        found = toolchain.find_toolchain()
    except HostError:
        pytest.skip("clang and ld.lld are not installed")
    built = build_text(QEMU.format(sdk="auto", config="debug", memory="256 MiB"), tmp_path, loader_image=True)
    assert built.loader_image is not None
    assert found.name == "clang"
    assert built.loader_image.programs["vmm_client"].loaded < 64 << 10


def test_what_the_tool_refuses_is_one_line_and_its_words_are_kept(tmp_path: Path) -> None:
    need_sdk()
    planned = plan(describe(tmp_path))
    assert planned.sdk is not None
    (tmp_path / "objects").mkdir()
    (tmp_path / "small.system").write_text('<system><memory_region name="m" size="0x1001" /></system>')
    with pytest.raises(HostError) as caught:
        run_tool(planned.plan, planned.sdk, tmp_path, b"")
    assert caught.value.message.startswith(f"the microkit tool of SDK {planned.sdk.version} fails: ")
    assert "\n" not in caught.value.message
    assert "size" in caught.value.message
    assert "small.system" in (tmp_path / "objects/microkit.log").read_text()
    assert not (tmp_path / "loader.img").exists()


@pytest.mark.parametrize(
    ("output", "line"),
    [
        ("note\nError: size is not a multiple of the page size: memory_region 'm'\n", "size is not a multiple of the"),
        ("thread 'main' panicked at tool/main.rs:7:1:\nindex out of range\nnote: run with\n", "thread 'main' panicked"),
        ("something\nlast words\n", "last words"),
        ("", "exit code 9, and it says nothing"),
    ],
)
def test_the_line_that_says_what_is_wrong_is_found(output: str, line: str) -> None:
    assert first_error(output, 9).startswith(line)


def router(folder: Path, *words: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "MICROKIT_SDK"}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(files.cache_folder().parent)}
    command = [sys.executable, "-m", "router", "build", str(folder / "small.yaml"), *words]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500, check=False
    )


def test_without_an_sdk_everything_else_is_built_and_an_image_from_elsewhere_stays(tmp_path: Path) -> None:
    if list(Path("/opt").glob("microkit-sdk-*")):
        pytest.skip("an SDK under /opt is found whatever the environment says")
    describe(tmp_path)
    (tmp_path / "build/small").mkdir(parents=True)
    (tmp_path / "build/small/loader.img").write_bytes(b"of another day")
    done = router(tmp_path, home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "no SDK found: planned for 2.3.0, loader.img is not made" in done.stdout
    assert (tmp_path / "build/small/small.system").is_file()
    assert (tmp_path / "build/small/loader.img").read_bytes() == b"of another day"
    refused = router(tmp_path, "--require-image", home=tmp_path)
    assert refused.returncode == 3
    assert "error: no Microkit SDK" in refused.stderr


def test_the_build_says_what_it_made_and_how_to_start_it(tmp_path: Path) -> None:
    need_sdk()
    describe(tmp_path)
    done = router(tmp_path, "--require-image", home=Path.home())
    assert done.returncode == 0, done.stderr
    assert "vmm_client " in done.stdout
    assert "debug → build/small/loader.img " in done.stdout
    assert "start with: go 0x70000000" in done.stdout
