# SPDX-License-Identifier: BSD-2-Clause
"""SDKs are found where users keep them, and what is wrong with one is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.errors import HostError
from router.microkit import sdk as sdks
from router.microkit.sdk import broken_sdks, find_sdk, installed_sdks, read_sdk, require_sdk, survey

BOTH = {"qemu_virt_aarch64": ("debug", "release"), "maaxboard": ("debug",)}


def make_sdk(path: Path, version: str, boards: dict[str, tuple[str, ...]] = BOTH) -> Path:
    """A folder with all that discovery looks at."""
    for board, configs in boards.items():
        for config in configs:
            for part in sdks.PARTS:
                (path / "board" / board / config / part).parent.mkdir(parents=True, exist_ok=True)
                (path / "board" / board / config / part).touch()
    (path / "bin").mkdir(parents=True)
    (path / "bin" / "microkit").touch(0o755)
    (path / "VERSION").write_text(f"{version}\n")
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with an old and a new SDK, and no other usual place."""
    monkeypatch.setattr(sdks, "PLACES", ())
    share = tmp_path / ".local" / "share"
    make_sdk(share / "microkit-sdk-2.0.1", "2.0.1")
    make_sdk(share / "microkit-sdk-2.2.0", "2.2.0", {"qemu_virt_aarch64": ("debug",)})
    return tmp_path


def test_an_sdk_says_its_version_boards_and_configurations(tmp_path: Path) -> None:
    sdk = read_sdk(make_sdk(tmp_path / "it", "2.1.0-dev.2"))
    assert (sdk.version, sdk.numbers) == ("2.1.0", (2, 1, 0))
    assert sdk.boards == {"maaxboard": ("debug",), "qemu_virt_aarch64": ("debug", "release")}
    assert sdk.board_dir("maaxboard", "debug") == tmp_path / "it/board/maaxboard/debug"
    assert sdk.tool == tmp_path / "it/bin/microkit"


def test_the_newest_of_the_usual_places_comes_first(home: Path) -> None:
    assert [sdk.version for sdk in installed_sdks({"HOME": str(home)})] == ["2.2.0", "2.0.1"]
    found = find_sdk(environment={"HOME": str(home)})
    assert found is not None
    assert found.version == "2.2.0"


def test_a_named_sdk_comes_before_the_usual_places_and_is_listed_once(home: Path) -> None:
    old = home / ".local/share/microkit-sdk-2.0.1"
    environment = {"HOME": str(home), "MICROKIT_SDK": str(old)}
    assert [sdk.version for sdk in installed_sdks(environment)] == ["2.0.1", "2.2.0"]
    assert find_sdk(environment=environment) == read_sdk(old)


def test_an_exact_version_is_found_and_a_missing_one_is_not(home: Path) -> None:
    environment = {"HOME": str(home)}
    found = find_sdk("2.0.1", environment=environment)
    assert found is not None
    assert found.version == "2.0.1"
    assert find_sdk("2.3.0", environment=environment) is None


def test_an_sdk_without_the_board_is_passed_over(home: Path) -> None:
    found = find_sdk("auto", "maaxboard", "debug", {"HOME": str(home)})
    assert found is not None
    assert found.version == "2.0.1"
    assert find_sdk("auto", "maaxboard", "release", {"HOME": str(home)}) is None


def test_an_sdk_of_an_unknown_version_is_not_built_with(home: Path) -> None:
    make_sdk(home / ".local/share/microkit-sdk-9.0.0", "9.0.0")
    assert installed_sdks({"HOME": str(home)})[0].version == "9.0.0"
    found = find_sdk(environment={"HOME": str(home)})
    assert found is not None
    assert found.version == "2.2.0"


def test_a_named_sdk_that_the_description_excludes_is_an_error(home: Path) -> None:
    path = home / ".local/share/microkit-sdk-2.2.0"
    with pytest.raises(HostError) as caught:
        find_sdk("2.3.0", environment={"HOME": str(home), "MICROKIT_SDK": str(path)})
    assert str(caught.value) == (
        f"{path}: error: the description asks for Microkit SDK 2.3.0, and MICROKIT_SDK names 2.2.0\n"
        "  unset MICROKIT_SDK, let it name an SDK 2.3.0, or write 'sdk: 2.2.0'"
    )


def test_a_named_folder_that_is_no_sdk_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HostError) as caught:
        installed_sdks({"HOME": str(tmp_path), "MICROKIT_SDK": str(tmp_path / "none")})
    assert caught.value.message == "not a Microkit SDK: its file VERSION cannot be read"
    assert caught.value.where == str(tmp_path / "none")


def test_a_named_sdk_without_the_board_is_an_error(home: Path) -> None:
    path = home / ".local/share/microkit-sdk-2.2.0"
    with pytest.raises(HostError) as caught:
        find_sdk("auto", "maaxboard", "debug", {"HOME": str(home), "MICROKIT_SDK": str(path)})
    assert caught.value.message == "Microkit SDK 2.2.0 has no board 'maaxboard'"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("VERSION", "not a Microkit SDK: its file VERSION says 'latest'"),
        ("bin/microkit", "not a whole Microkit SDK: bin/microkit is missing or not executable"),
        ("board", "not a whole Microkit SDK: board is missing"),
        *(
            (
                f"board/qemu_virt_aarch64/debug/{part}",
                f"not a whole Microkit SDK: board/qemu_virt_aarch64/debug/{part} is missing",
            )
            for part in sdks.PARTS
        ),
    ],
)
def test_a_broken_sdk_in_a_usual_place_is_passed_over_and_told_of(home: Path, damage: str, message: str) -> None:
    path = home / ".local/share/microkit-sdk-2.2.0"
    if damage == "VERSION":
        (path / damage).write_text("latest")
    elif damage == "bin/microkit":
        (path / damage).chmod(0o644)
    else:
        (path / damage).rename(home / "away")
    environment = {"HOME": str(home)}
    assert [sdk.version for sdk in installed_sdks(environment)] == ["2.0.1"]
    assert [(error.message, error.where) for error in broken_sdks(environment)] == [(message, str(path))]


def test_a_missing_configuration_is_named(tmp_path: Path) -> None:
    sdk = read_sdk(make_sdk(tmp_path / "it", "2.3.0"))
    with pytest.raises(HostError) as caught:
        sdk.board_dir("maaxboard", "release")
    assert caught.value.message == "Microkit SDK 2.3.0 has no configuration 'release' for the board 'maaxboard'"
    assert caught.value.hint == "it has debug"


def test_no_sdk_at_all_says_where_to_put_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdks, "PLACES", ())
    with pytest.raises(HostError) as caught:
        require_sdk("2.1.0", "maaxboard", "release", {"HOME": str(tmp_path)})
    assert caught.value.message == (
        "no Microkit SDK 2.1.0 with 'release' for the board 'maaxboard' is installed (found: none)"
    )
    assert caught.value.hint == "router sdk install 2.1.0, or let MICROKIT_SDK name the folder of one"


def test_the_error_for_a_missing_sdk_names_broken_ones_and_what_an_install_left(home: Path) -> None:
    share = home / ".local/share"
    (share / "microkit-sdk-2.2.0/bin/microkit").unlink()
    (share / ".microkit-sdk-2.3.0.unpacking").mkdir()
    with pytest.raises(HostError) as caught:
        require_sdk("2.2.0", environment={"HOME": str(home)})
    assert caught.value.message == (
        f"no Microkit SDK 2.2.0 is installed (found: 2.0.1 in {share}/microkit-sdk-2.0.1, "
        f"a broken one in {share}/microkit-sdk-2.2.0, a broken one in {share}/.microkit-sdk-2.3.0.unpacking)"
    )


def test_an_sdk_that_lacks_the_kernel_is_not_said_to_be_mended_by_installing_it_again(home: Path) -> None:
    with pytest.raises(HostError) as caught:
        require_sdk("2.2.0", "qemu_virt_aarch64", "release", {"HOME": str(home)})
    assert caught.value.hint == "let MICROKIT_SDK name the folder of one that has it"


def test_a_broken_sdk_that_the_environment_names_is_in_the_survey(home: Path) -> None:
    whole, broken = survey({"HOME": str(home), "MICROKIT_SDK": str(home)})
    assert [sdk.version for sdk in whole] == ["2.2.0", "2.0.1"]
    assert [error.where for error in broken] == [str(home)]
