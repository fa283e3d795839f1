"""What each version of the Microkit SDK offers, from the manuals and release notes of 2.0.1 to 2.3.0."""

from __future__ import annotations

from dataclasses import dataclass

from router.errors import DescriptionError


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

    @property
    def numbers(self) -> tuple[int, ...]:
        """The version as numbers, to compare."""
        return tuple(int(part) for part in self.version.split("."))


KNOWN = (
    SdkFeatures("2.0.1", cores=False, smc=False, prefill=False, one_block=True),
    SdkFeatures("2.1.0", cores=True, smc=True, prefill=False),
    SdkFeatures("2.2.0", cores=True, smc=True, prefill=True),
    SdkFeatures("2.3.0", cores=True, smc=True, prefill=True, capabilities=True),
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
