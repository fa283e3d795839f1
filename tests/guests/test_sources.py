# SPDX-License-Identifier: BSD-2-Clause
"""Package sources in both of apt's forms."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.errors import DescriptionError, HostError
from router.guests.sources import ENVIRONMENT, Source, looks_like_deb822, machine_sources, parse_sources

DEB822 = """\
# a comment
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: stable stable-updates
Components: main contrib
Architectures: amd64
Trusted: yes
Signed-By: /usr/share/keyrings/key.gpg

Types: deb
URIs: http://mirror.example/security
Suites: stable-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF
 -----END PGP PUBLIC KEY BLOCK-----

Enabled: no
Types: deb
URIs: http://off.example/
Suites: x
Components: main
"""
KEY = (("Signed-By", "/usr/share/keyrings/key.gpg"),)


def test_deb822_sources_give_one_entry_for_each_suite() -> None:
    found = parse_sources(DEB822, True, "d.sources")
    assert found[:2] == [
        Source("http://mirror.example/debian", "stable", ("main", "contrib"), KEY),
        Source("http://mirror.example/debian", "stable-updates", ("main", "contrib"), KEY),
    ]
    assert len(found) == 3


def test_an_embedded_key_survives_the_way_to_the_private_apt() -> None:
    stanza = parse_sources(DEB822, True, "d.sources")[2].deb822()
    assert " mQINBF\n" in stanza
    assert parse_sources(stanza, True, "x")[0].deb822() == stanza


def test_one_line_sources_are_understood_with_their_options() -> None:
    text = """
deb [arch=amd64 signed-by=/usr/share/keyrings/key.gpg trusted=yes] http://mirror.example/debian stable main contrib
deb-src http://mirror.example/debian stable main
deb http://mirror.example/debian  stable-updates   main # updates
deb cdrom:[Debian 12]/ stable main
deb http://flat.example/ ./
"""
    assert parse_sources(text, False, "sources.list") == [
        Source("http://mirror.example/debian", "stable", ("main", "contrib"), KEY),
        Source("http://mirror.example/debian", "stable-updates", ("main",)),
    ]


def test_neither_architecture_nor_trust_is_taken_over() -> None:
    written = "".join(source.deb822() for source in parse_sources(DEB822, True, "d.sources"))
    assert "Architectures" not in written
    assert "Trusted" not in written


def test_the_form_is_told_by_the_content_and_not_by_the_name() -> None:
    assert looks_like_deb822(DEB822)
    assert not looks_like_deb822("# c\n\ndeb http://mirror.example/ stable main\n")


@pytest.mark.parametrize(
    ("text", "deb822", "place"),
    [
        ("deb http://mirror.example\n", False, "f:1"),
        ("\nrubbish here and there\n", False, "f:2"),
        ("Types: deb\nno field\n", True, "f:2"),
        ("\nTypes: deb\nSuites: x\n", True, "f:2"),
    ],
)
def test_a_wrong_entry_is_named_by_file_and_line(text: str, deb822: bool, place: str) -> None:
    with pytest.raises(DescriptionError) as caught:
        parse_sources(text, deb822, "f")
    assert caught.value.where == place


def test_the_environment_points_to_other_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.sources").write_text(DEB822)
    (tmp_path / "b.list").write_text("deb http://b.example/ stable main\n")
    (tmp_path / "c.list.save").write_text("deb http://c.example/ stable main\n")
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    assert [source.uri for source in machine_sources()][-1] == "http://b.example/"
    assert len(machine_sources()) == 4
    assert len(machine_sources(tmp_path / "b.list")) == 1


def test_a_missing_sources_file_is_an_error_that_says_how_to_name_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "none"))
    with pytest.raises(HostError) as caught:
        machine_sources()
    assert ENVIRONMENT in str(caught.value.hint)
