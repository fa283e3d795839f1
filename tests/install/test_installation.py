# SPDX-License-Identifier: BSD-2-Clause
"""What `pip install` brings: the wheel in an empty environment does what the checkout does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from router import resources
from router.requirements import DISTRIBUTION

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 300
pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout: what is shipped is unknown")


def tracked() -> list[str]:
    """The files of the checkout that git knows, as they are in the working tree."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def build(source: Path, kind: str, out: Path) -> Path:
    """Build a wheel or an sdist of `source`; the file."""
    command = [sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = out.iterdir()
    return found


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean copy of the checkout, without build folders and caches."""
    copy = tmp_path_factory.mktemp("source") / "router"
    for name in tracked():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def sdist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(source, "sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(source, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that was empty, with the wheel and what it depends on."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=TIMEOUT_S)
    pip = [str(folder / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", str(wheel)]
    done = subprocess.run(pip, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def run(command: list[str], folder: Path, code: int = 0, seconds: float = TIMEOUT_S) -> str:
    """Run a command in an empty folder, without the checkout on its path; all that it printed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=seconds, check=False, env=kept)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def files_of(archive: Path) -> dict[str, bytes]:
    """Content by name of a wheel."""
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def test_the_distribution_has_a_name_of_its_own() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["name"] == DISTRIBUTION != "router"
    assert project["scripts"] == {"router": "router.cli:main"}
    assert project["entry-points"] == {"pytest11": {"router": "router.pytest_plugin"}}


def test_the_wheel_holds_every_file_of_the_package_and_of_the_data_folders(wheel: Path) -> None:
    content = files_of(wheel)
    for name in tracked():
        top = name.split("/")[0]
        if top == "router":
            assert content[name] == (ROOT / name).read_bytes()
        elif top in resources.FOLDERS:
            assert content[f"router/_data/{name}"] == (ROOT / name).read_bytes()
    assert not [name for name in content if name.startswith(("tests/", "bench/", "docs/"))]


def test_the_wheel_made_from_the_sdist_is_the_same_as_the_one_from_the_checkout(
    sdist: Path, wheel: Path, tmp_path: Path
) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    again = build(unpacked, "wheel", tmp_path / "out")
    assert files_of(again) == files_of(wheel)


def test_the_sdist_holds_sources_tests_and_documents(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    left_out = {".ci", ".github", ".gitlab-ci.yml"}
    missing = {name for name in tracked() if name.split("/")[0] not in left_out} - names
    assert missing == set()


def test_the_installed_program_checks_and_describes_what_it_ships(environment: Path, tmp_path: Path) -> None:
    router = str(environment / "bin/router")
    for name in resources.FOLDERS:
        assert list(environment.glob(f"lib/python3.*/site-packages/router/_data/{name}/*"))
    assert "invariants hold" in run([router, "check", "qemu.yaml"], tmp_path)
    assert "usb@38100000" in run([router, "board", "maaxboard"], tmp_path)
    assert '"$schema"' in run([router, "schema"], tmp_path)
    shown = run([router, "check", "nothing.yaml"], tmp_path, 2)
    assert "no file and no shipped description is called 'nothing.yaml'" in shown
    assert list(tmp_path.iterdir()) == []


def test_the_installed_program_says_that_measurements_need_the_checkout(environment: Path, tmp_path: Path) -> None:
    assert "checkout" in run([str(environment / "bin/router"), "bench", "start"], tmp_path, 3)


def test_a_broken_installation_is_named_by_doctor_and_by_the_verb_that_needs_the_rest(
    wheel: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    shutil.rmtree(tmp_path / "site/router/_data/system-descriptions")
    shutil.rmtree(tmp_path / "site/router/_data/vmm")
    (tmp_path / "empty").mkdir()
    start = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); from router.cli import main; sys.exit(main())"
    shown = run([sys.executable, "-c", start, "doctor"], tmp_path / "empty", 3)
    assert "lacks system-descriptions, vmm" in shown
    assert "pip install --force-reinstall" in shown
    shown = run([sys.executable, "-c", start, "check", "qemu.yaml"], tmp_path / "empty", 3)
    assert "this installation of router is incomplete" in shown


@pytest.mark.qemu
@pytest.mark.packages
def test_the_installed_program_builds_and_runs_a_system_without_writing_into_its_own_folders(
    environment: Path, tmp_path: Path
) -> None:
    site = next(environment.glob("lib/python3.*/site-packages"))
    before = {path: path.stat().st_mtime_ns for path in site.rglob("*") if "__pycache__" not in path.parts}
    router = str(environment / "bin/router")
    read_only = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"',
    ]
    possible = subprocess.run([*read_only, str(site), "true"], capture_output=True, check=False).returncode == 0
    prefix = [*read_only, str(site)] if possible else []
    shown = run([*prefix, router, "build", "qemu.yaml"], tmp_path)
    assert "built        build/qemu-usb" in shown
    shown = run(
        [*prefix, router, "run", "qemu.yaml", "--mode", "split", "--exec", "client: echo it $((40+2)) works"], tmp_path
    )
    assert "it 42 works" in shown
    lab = tmp_path.parent / "boards.yaml"
    lab.write_text("boards: {desk: {board: qemu, serial: /dev/null, load: ymodem}}\n")
    if (tmp_path / "build/qemu-usb/loader.img").is_file():
        shown = run([*prefix, router, "deploy", "build/qemu-usb", "--lab", str(lab), "--dry-run"], tmp_path)
        assert "loady" in shown
    after = {path: path.stat().st_mtime_ns for path in site.rglob("*") if "__pycache__" not in path.parts}
    assert after == before
    assert [path.name for path in tmp_path.iterdir()] == ["build"]


@pytest.mark.qemu
@pytest.mark.packages
def test_an_editable_installation_works_in_an_empty_folder(tmp_path: Path) -> None:
    assert resources.checkout() == ROOT
    router = [sys.executable, "-m", "router"]
    assert "invariants hold" in run([*router, "check", "qemu.yaml"], tmp_path)
    shown = run([*router, "run", "qemu.yaml", "--mode", "split", "--exec", "client: echo it $((40+2)) works"], tmp_path)
    assert "it 42 works" in shown
    assert [path.name for path in tmp_path.iterdir()] == ["build"]


@pytest.mark.qemu
@pytest.mark.packages
def test_the_example_project_is_tested_by_the_installed_program(environment: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(ROOT / "examples/usb-in-the-right-guest", project)
    pip = [str(environment / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", "pytest"]
    run(pip, tmp_path)
    words = ["-v", "--router", "system.yaml", "--router-on", "split", "--router-boot-timeout", f"{TIMEOUT_S}"]
    shown = run([str(environment / "bin/pytest"), *words], project, seconds=3 * TIMEOUT_S)
    assert "3 passed" in shown
    # The plugin comes with the wheel: nothing of the checkout is on the way.
    assert f"plugins: {DISTRIBUTION}" in shown and str(ROOT) not in shown
