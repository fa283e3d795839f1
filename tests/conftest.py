# SPDX-License-Identifier: BSD-2-Clause
"""What all tests share: `pytest --update-golden` rewrites the golden files instead of comparing with them."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from router.pytest_plugin import SESSION
from tests.support import long, skips, tiers

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import LoadScopeScheduling

# A computer that does other things for a while is no failure of what is tested, nor of its inputs' making.
settings.register_profile(
    "router", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.load_profile("router")
LOCK = "ROUTER_TESTS_LOCK"
"""The variable with the path of the file by which the workers of a run keep what measures apart."""
GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden from what the program makes")


def pytest_configure(config: pytest.Config) -> None:
    # A shell starts what runs in the background with SIGINT ignored, and programs that tests start would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(config, "workerinput"):
        quiet = tiers.Quiet(Path(os.environ[LOCK]))
        config.pluginmanager.register(quiet)
        config.add_cleanup(quiet.end)
    else:
        config.pluginmanager.register(tiers.Clock(config.rootpath))
        descriptor, os.environ[LOCK] = tempfile.mkstemp(prefix="router-tests-", suffix=".lock")
        os.close(descriptor)
        config.add_cleanup(lambda: Path(os.environ.pop(LOCK)).unlink(missing_ok=True))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None, object, object]:
    tiers.mark(items)
    tiers.without_long(config, items)
    found = yield  # the folders put together what has one system
    tiers.order(items)
    return found


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling | None:
    return tiers.scheduler(config, log) if config.getvalue("dist") == "loadscope" else None


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    if SESSION in item.config.stash and tiers.stands_idle(item, nextitem):
        item.config.stash[SESSION].systems.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skips.write_summary(terminalreporter)
    terminalreporter.section("last run of make long")
    for line in long.lines():
        terminalreporter.write_line(line)


@pytest.fixture(scope="session", autouse=True)
def _state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests make is recorded in a folder of their own, not in that of the person who runs them.

    Each worker serves its systems in its own folder, so two may run systems of one name. Its path is short, for unix
    sockets in it.
    """
    with tempfile.TemporaryDirectory(prefix="run") as runtime, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setenv("XDG_RUNTIME_DIR", runtime)
        yield


@pytest.fixture
def says(capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a `router` command line; what it prints on both streams. It must end with exit code `code` (0)."""

    def run(*words: str, code: int = 0) -> str:
        from router.cli import main

        capfd.readouterr()
        got = main(list(words))
        shown = capfd.readouterr()
        assert got == code, shown.out + shown.err
        return shown.out + shown.err

    return run


@pytest.fixture
def assert_golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compares a text with tests/golden/NAME; with --update-golden writes it there."""

    def check(name: str, text: str) -> None:
        file = GOLDEN / name
        if request.config.getoption("--update-golden"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        assert file.is_file(), f"no golden file {name}: pytest --update-golden writes it"
        assert text == file.read_text(), f"{name} differs: look at the change, then pytest --update-golden"

    return check
