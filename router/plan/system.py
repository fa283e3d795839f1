# SPDX-License-Identifier: BSD-2-Clause
"""From a description, a board and what the guests own of it to the whole plan."""

from __future__ import annotations

from collections.abc import Mapping

from router.boards.model import Board
from router.description.models import Description
from router.description.sdk_versions import NEWEST, SdkVersion, sdk_features
from router.plan.domains import plan_domains
from router.plan.guests import plan_grants, plan_guests, plan_vswitch
from router.plan.models import Passthrough, SystemPlan
from router.plan.notes import plan_notes


def plan_system(
    description: Description,
    board: Board,
    *,
    roles: Mapping[str, str],
    passthrough: Mapping[str, Passthrough] | None = None,
    sdk: str | None = None,
    sizes: Mapping[str, int] | None = None,
) -> SystemPlan:
    """The plan; the same input gives the same plan, and what is wrong with it `router.checks` says.

    DescriptionError only for an SDK version that is not known.

    roles: `server`, `client` or `none` for each guest.
    passthrough: what each guest owns of the board (guests that own nothing may be absent).
    sdk: the installed SDK's version, for descriptions that say `auto`; None plans for the newest known.
    sizes: bytes of the payload files of the build folder that exist already.
    """
    wanted = description.microkit.sdk
    version = (sdk or NEWEST.version) if wanted is SdkVersion.AUTO else wanted.value
    owned = passthrough or {}
    guests = plan_guests(description, board, owned, roles)
    grants = plan_grants(description, roles)
    vswitch = plan_vswitch(description, guests, grants)
    domains = plan_domains(description, board, guests, vswitch, sdk_features(version), sizes or {})
    return SystemPlan(
        name=description.system,
        board=board,
        sdk=version,
        config=description.microkit.config,
        regions=domains.regions,
        pds=domains.pds,
        channels=domains.channels,
        guests=guests,
        vswitch=vswitch,
        grants=grants,
        notes=plan_notes(board, description.microkit.config, version, guests, grants),
    )
