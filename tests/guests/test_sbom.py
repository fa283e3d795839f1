# SPDX-License-Identifier: BSD-2-Clause
"""SPDX documents: the fields that the specification demands, and licences out of DEP-5 files."""

from __future__ import annotations

import pytest

from router.guests.apt import Package
from router.guests.sbom import declared_licence, spdx_document

DEP5 = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: someone
License: {}

License: GPL-2+
 On Debian systems …
"""


@pytest.mark.parametrize(
    ("debian", "spdx"),
    [
        ("GPL-2", "GPL-2.0-only"),
        ("GPL-2+", "GPL-2.0-or-later"),
        ("LGPL-2.1+", "LGPL-2.1-or-later"),
        ("GPL-3.0+", "GPL-3.0-or-later"),
        ("Expat", "MIT"),
        ("BSD-3-clause", "BSD-3-Clause"),
        ("GPL-2 or Expat", "GPL-2.0-only OR MIT"),
        ("GPL-2+, and Zlib or MIT", "GPL-2.0-or-later AND (Zlib OR MIT)"),
        ("Odd Thing 1.0", "LicenseRef-Debian-Odd-Thing-1.0"),
    ],
)
def test_debians_licence_names_become_spdx_expressions(debian: str, spdx: str) -> None:
    assert declared_licence(DEP5.format(debian), {}) == spdx


def test_several_licences_are_joined_and_alternatives_kept_together() -> None:
    text = DEP5.format("Zlib") + "\nFiles: debian/*\nLicense: MIT or GPL-2\n"
    assert declared_licence(text, {}) == "(MIT OR GPL-2.0-only) AND Zlib"


def test_free_text_is_no_assertion() -> None:
    assert declared_licence("This package was debianized by …\nLicense: GPL\n", {}) == "NOASSERTION"


def test_a_licence_unknown_to_spdx_is_explained_in_the_document() -> None:
    packages = [Package("a", "1:2~x", "arm64", "0" * 64, 1, "src")]
    document = spdx_document("usb-server", "f" * 64, "6.1", packages, {"a": DEP5.format("Odd")}, "0.1.0")
    assert document["packages"][1]["licenseDeclared"] == "LicenseRef-Debian-Odd"
    assert document["hasExtractedLicensingInfos"][0]["licenseId"] == "LicenseRef-Debian-Odd"


def test_the_document_has_what_the_specification_demands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    packages = [Package("b", "2", "arm64", "1" * 64, 1, "b"), Package("a", "1:2~x", "all", "0" * 64, 1, "src")]
    document = spdx_document("usb-server", "f" * 64, "6.1", packages, {}, "0.1.0")
    assert document["spdxVersion"] == "SPDX-2.3"
    assert document["dataLicense"] == "CC0-1.0"
    assert document["creationInfo"] == {"created": "1970-01-02T00:00:00Z", "creators": ["Tool: router-0.1.0"]}
    identifiers = [package["SPDXID"] for package in document["packages"]]
    assert identifiers == ["SPDXRef-image", "SPDXRef-a", "SPDXRef-b"]
    for package in document["packages"]:
        assert {"name", "versionInfo", "downloadLocation", "licenseDeclared", "checksums"} <= package.keys()
    assert {r["relatedSpdxElement"] for r in document["relationships"]} == set(identifiers)
    purl = document["packages"][1]["externalRefs"][0]["referenceLocator"]
    assert purl == "pkg:deb/debian/a@1%3A2~x?arch=all"
