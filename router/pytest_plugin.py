# SPDX-License-Identifier: BSD-2-Clause
"""The pytest plugin: options, markers, and the fixtures `router` and `router_setup`. docs/guide/testing.md.

pytest imports this module in every run of every project that has router installed. So it imports nothing of router
until a test wants a system.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from router.testing import Router, Setup
    from router.testing.session import Session

    SESSION = pytest.StashKey[Session]()
else:
    SESSION = pytest.StashKey()
LEFT = pytest.StashKey[int]()
"""How many tests that use a system are still to come: it ends with the last."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("router", "systems of router")
    group.addoption("--router", metavar="FILE", help="the description of the system that the tests are about")
    group.addoption(
        "--router-on",
        metavar="WHERE",
        help="split, microkit, or a board of the lab file (default: microkit where an SDK is installed, else split)",
    )
    group.addoption(
        "--router-usb",
        metavar="KIND[:ARGUMENT]",
        action="append",
        default=[],
        help="an emulated device that is plugged in from the start, as for router run --usb (repeatable; QEMU)",
    )
    group.addoption("--router-lab", metavar="FILE", help="the lab file (default: as router deploy finds it)")
    group.addoption("--router-logs", metavar="DIR", help="keep consoles and the files of failed tests here")
    group.addoption("--router-report", metavar="DIR", help="write an HTML page of each system here: rates, drops, …")
    group.addoption("--router-capture", action="store_true", help="record what crosses the switch (split)")
    group.addoption("--router-boot-timeout", metavar="SECONDS", type=float, help="for the system to come up (300)")
    group.addoption("--router-interactive", action="store_true", help="a person is there to plug devices into a board")
    parser.addini("router", "the description, as --router; relative to the folder of this file")
    parser.addini("router_on", "as --router-on")


def pytest_configure(config: pytest.Config) -> None:
    for line in (
        "router_needs(need, ...): skip where the system's machine or mode does not have it (docs/guide/testing.md)",
        "router_fresh: boot the system for this test alone",
    ):
        config.addinivalue_line("markers", line)
    named = _named(config)
    if named is not None:
        from router.description.load import find_description, load
        from router.errors import RouterError

        try:
            load(find_description(str(named)))
        except RouterError as error:
            raise pytest.UsageError(f"--router {named}: {error}") from None


def pytest_report_header(config: pytest.Config) -> str | None:
    named = _named(config)
    return None if named is None else f"router: {named}, on {_where(config) or 'the default of this computer'}"


def _where(config: pytest.Config) -> str | None:
    return config.getoption("router_on") or str(config.getini("router_on")) or None


def _named(config: pytest.Config) -> Path | None:
    """The description that the command line or the ini file names."""
    given = config.getoption("router")
    if given is not None:
        return Path(given)
    named = config.getini("router")
    if not named:
        return None
    return (config.inipath.parent if config.inipath else config.rootpath) / str(named)


@pytest.fixture(scope="session")
def router_setup(pytestconfig: pytest.Config) -> Setup:
    """Which system `router` is, and where it runs. A fixture of this name in a conftest.py can say otherwise."""
    named = _named(pytestconfig)
    if named is None:
        pytest.fail("which system? pytest --router FILE, or `router = FILE` in pytest.ini", pytrace=False)
    from router.description.load import find_description
    from router.testing.setup import AUTO, BOOT_TIMEOUT_S, Setup

    option = pytestconfig.getoption
    return Setup(
        description=find_description(str(named)),
        on=_where(pytestconfig) or AUTO,
        usb=tuple(option("router_usb")),
        lab=option("router_lab"),
        capture=option("router_capture"),
        boot_timeout=option("router_boot_timeout") or BOOT_TIMEOUT_S,
    )


@pytest.fixture
def router(
    request: pytest.FixtureRequest, router_setup: Setup, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Router]:
    """The running system: docs/guide/testing.md. It is booted once for all tests, and anew if it has died."""
    session = _session(request.config, tmp_path_factory)
    yield from session.provide(request.node, router_setup, lambda: request.getfixturevalue("tmp_path"))


def _session(config: pytest.Config, factory: pytest.TempPathFactory) -> Session:
    found = config.stash.get(SESSION, None)
    if found is None:
        from router.testing.session import Session

        logs, pages = config.getoption("router_logs"), config.getoption("router_report")
        worker = os.environ.get("PYTEST_XDIST_WORKER", "")
        folder = Path(logs).absolute() / worker if logs else factory.mktemp("router")
        report = Path(pages).absolute() / worker if pages else None
        found = config.stash[SESSION] = Session(config, folder, report)
    return found


def _uses(item: pytest.Item) -> bool:
    return "router" in getattr(item, "fixturenames", ())


def pytest_collection_finish(session: pytest.Session) -> None:
    session.config.stash[LEFT] = sum(map(_uses, session.items))


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """A test that leaves a dead system has failed."""
    session = pyfuncitem.config.stash.get(SESSION, None)
    if session is None or not _uses(pyfuncitem):
        return (yield)
    try:
        result = yield
    except (Exception, pytest.fail.Exception) as error:
        session.check(error)
        raise
    session.check(None)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    session = item.config.stash.get(SESSION, None)
    if session is not None and _uses(item):
        session.note(item, call, report)
        if report.failed:
            session.report(item, report)
    return report


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    if _uses(item):
        item.config.stash[LEFT] -= 1
        session = item.config.stash.get(SESSION, None)
        if session is not None and not item.config.stash[LEFT]:
            session.systems.close()


def pytest_unconfigure(config: pytest.Config) -> None:
    session = config.stash.get(SESSION, None)
    if session is not None:
        session.systems.close()
