# SPDX-License-Identifier: BSD-2-Clause
"""What an image consists of, as an SPDX 2.3 document in JSON (https://spdx.github.io/spdx-spec/v2.3/).

Licences are those that the packages' own copyright files declare in the machine-readable form (Debian's DEP-5); where
that file is free text it is NOASSERTION. The document is as reproducible as the image: its date is SOURCE_DATE_EPOCH
or 1970.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from router.guests.apt import Package

NOASSERTION = "NOASSERTION"
# DEP-5 short names that SPDX spells differently; names of the form GPL-2+ follow from a rule below.
_SPDX = {
    "Expat": "MIT",
    "MIT": "MIT",
    "X11": "X11",
    "Apache-2": "Apache-2.0",
    "Apache-2.0": "Apache-2.0",
    "BSD-2-clause": "BSD-2-Clause",
    "BSD-3-clause": "BSD-3-Clause",
    "BSD-4-clause": "BSD-4-Clause",
    "Artistic": "Artistic-1.0",
    "Artistic-2": "Artistic-2.0",
    "ISC": "ISC",
    "Zlib": "Zlib",
    "PSF-2": "PSF-2.0",
    "Python-2.0": "Python-2.0",
    "CC0-1.0": "CC0-1.0",
    "0BSD": "0BSD",
    "Unicode": "Unicode-DFS-2016",
}
_GNU = re.compile(r"(A?GPL|LGPL)-?(\d)(?:\.(\d))?(?:\.0)?(\+|-or-later|-only)?$")


def spdx_document(
    name: str,
    initramfs_sha256: str,
    kernel_version: str,
    packages: Iterable[Package],
    copyrights: Mapping[str, str],
    router_version: str,
) -> dict[str, Any]:
    """The SPDX document of the image `name`.

    packages: those that gave at least one file; copyrights: package name -> text of its copyright file.
    """
    extracted: dict[str, str] = {}
    root = "SPDXRef-image"
    entries: list[dict[str, Any]] = [
        {
            "SPDXID": root,
            "name": name,
            "versionInfo": router_version,
            "summary": f"guest image: Linux {kernel_version} and an initramfs",
            "downloadLocation": NOASSERTION,
            "filesAnalyzed": False,
            "licenseConcluded": NOASSERTION,
            "licenseDeclared": NOASSERTION,
            "copyrightText": NOASSERTION,
            "checksums": [{"algorithm": "SHA256", "checksumValue": initramfs_sha256}],
        }
    ]
    relations = [{"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": root}]
    for package in sorted(packages):
        identifier = "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", package.name)
        entries.append(_package(package, identifier, copyrights.get(package.name, ""), extracted))
        relations.append({"spdxElementId": root, "relationshipType": "CONTAINS", "relatedSpdxElement": identifier})
    document: dict[str, Any] = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"router-guest-image-{name}",
        "documentNamespace": f"urn:router:guest-image:{name}:{initramfs_sha256}",
        "creationInfo": {"created": _created(), "creators": [f"Tool: router-{router_version}"]},
        "packages": entries,
        "relationships": relations,
    }
    if extracted:
        document["hasExtractedLicensingInfos"] = [
            {"licenseId": key, "name": label, "extractedText": f"See {label} in the package's copyright file"}
            for key, label in sorted(extracted.items())
        ]
    return document


def declared_licence(copyright_file: str, extracted: dict[str, str]) -> str:
    """The SPDX expression for all licences that a DEP-5 file declares; NOASSERTION for any other text.

    Licences unknown to SPDX become LicenseRef-…, and are noted in `extracted` (reference -> Debian's name).
    """
    if not re.match(r"Format(?:-Specification)?:", copyright_file):
        return NOASSERTION
    names = set()
    for stanza in re.split(r"\n[ \t]*\n", copyright_file):
        match = re.search(r"^License:[ \t]*(\S.*)$", stanza, re.M)
        if match and re.search(r"^Files:", stanza, re.M):
            names.add(match[1].strip())
    expressions = {_expression(name, extracted) for name in names}
    if not expressions:
        return NOASSERTION
    if len(expressions) == 1:
        return expressions.pop()
    return " AND ".join(f"({item})" if " OR " in item else item for item in sorted(expressions))


def _package(package: Package, identifier: str, copyright_file: str, extracted: dict[str, str]) -> dict[str, Any]:
    purl = f"pkg:deb/debian/{quote(package.name)}@{quote(package.version, safe='')}?arch={package.architecture}"
    return {
        "SPDXID": identifier,
        "name": package.name,
        "versionInfo": package.version,
        "supplier": "Organization: Debian",
        "downloadLocation": NOASSERTION,
        "filesAnalyzed": False,
        "licenseConcluded": NOASSERTION,
        "licenseDeclared": declared_licence(copyright_file, extracted),
        "copyrightText": NOASSERTION,
        "sourceInfo": f"built from the Debian source package {package.source or package.name}",
        "checksums": [{"algorithm": "SHA256", "checksumValue": package.sha256}],
        "externalRefs": [
            {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl},
        ],
    }


def _expression(name: str, extracted: dict[str, str]) -> str:
    """DEP-5's `A or B`, `A and B`, `A, and B or C` as SPDX; `and` binds tighter in both, a comma loosens it."""
    groups = re.split(r",\s+(?=and\b|or\b)", name)
    words = []
    for index, group in enumerate(groups):
        if index:
            operator, group = group.split(None, 1)
            words.append(operator.upper())
        parts = re.split(r"\s+(and|or)\s+", group)
        terms = [part.upper() if at % 2 else _identifier(part, extracted) for at, part in enumerate(parts)]
        joined = " ".join(terms)
        words.append(f"({joined})" if len(groups) > 1 and len(parts) > 1 else joined)
    return " ".join(words)


def _identifier(name: str, extracted: dict[str, str]) -> str:
    if name in _SPDX:
        return _SPDX[name]
    if match := _GNU.match(name):
        family, major, minor, more = match.groups()
        suffix = "or-later" if more in {"+", "-or-later"} else "only"
        return f"{family}-{major}.{minor or '0'}-{suffix}"
    reference = "LicenseRef-Debian-" + re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-")
    extracted[reference] = name
    return reference


def _created() -> str:
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
