# SPDX-License-Identifier: BSD-2-Clause
"""What each version of the Microkit SDK offers, from the manuals and release notes of 2.0.1 to 2.3.0."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from router.errors import DescriptionError


class SdkVersion(StrEnum):
    """Versions of the Microkit SDK whose formats are known."""

    AUTO = "auto"
    V2_0_1 = "2.0.1"
    V2_1_0 = "2.1.0"
    V2_2_0 = "2.2.0"
    V2_3_0 = "2.3.0"


@dataclass(frozen=True)
class SdkFeatures:
    """One version of the SDK."""

    version: str
    cores: bool
    """`cpu` on protection domains and vCPUs, and the `smp-` configurations."""
    smc: bool
    """Stock kernels that forward SMC calls: `smc="true"`."""
    prefill: bool
    """`prefill_path` on memory regions."""
    capabilities: bool = False
    """The tool writes the image's capability specification in the form that `router.microkit.capdl` reads."""
    one_block: bool = False
    """The tool takes all pages of one size that have no physical address from a single block of free RAM."""
    max_contexts: int | None = None
    """Scheduling contexts of protection domains and vCPUs together that the Monitor has room for (MAX_PDS of
    monitor/src/main.c, less one that stays empty); None: no such limit. The tool panics beyond it."""
    par_el1: bool = False
    """The kernel keeps PAR_EL1 apart between virtual CPUs (seL4 16.0.0, release notes)."""
    keeps_deferred: bool = False
    """A deferred notify or irq_ack survives the reply to a fault or a protected call (Microkit 2.3.0, CHANGES)."""

    @property
    def numbers(self) -> tuple[int, ...]:
        """The version as numbers, to compare."""
        return tuple(int(part) for part in self.version.split("."))


KNOWN = (
    SdkFeatures(SdkVersion.V2_0_1.value, cores=False, smc=False, prefill=False, one_block=True, max_contexts=63),
    SdkFeatures(SdkVersion.V2_1_0.value, cores=True, smc=True, prefill=False),
    SdkFeatures(SdkVersion.V2_2_0.value, cores=True, smc=True, prefill=True),
    SdkFeatures(
        SdkVersion.V2_3_0.value,
        cores=True,
        smc=True,
        prefill=True,
        capabilities=True,
        par_el1=True,
        keeps_deferred=True,
    ),
)
"""Oldest first."""
NEWEST = KNOWN[-1]


def sdk_features(version: str) -> SdkFeatures:
    """The features of exactly that version; DescriptionError for one that is not known."""
    for known in KNOWN:
        if known.version == version:
            return known
    raise DescriptionError(
        f"Microkit SDK {version} is not known", hint=f"known versions: {', '.join(known.version for known in KNOWN)}"
    )


def oldest_with(feature: str) -> str:
    """The first version that has the boolean feature of that name."""
    return next(known.version for known in KNOWN if getattr(known, feature) is True)
