# SPDX-License-Identifier: BSD-2-Clause
"""The pytest plugin, with a system that runs nothing: when it boots, what it skips, and what a failure shows."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest

from router.description.diagnostics import DescriptionErrors, Diagnostic, Span
from router.errors import HostError, RouterError
from router.isolation.compare import Difference, IsolationError
from router.testing import pool
from tests.testing.fake import CAPTURED, Boots

OPTIONS = ("--router", "qemu.yaml", "-p", "no:cacheprovider", "-p", "no:randomly")


def assert_outcome(pytester: pytest.Pytester, text: str, *words: str, **counts: int) -> pytest.RunResult:
    """Run tests with a system; as many must pass, fail, … as the counts say."""
    pytester.makepyfile(text)
    result = pytester.runpytest_inprocess(*OPTIONS, *words)
    result.assert_outcomes(**counts)
    return result


def test_a_system_is_booted_once_for_all_tests_and_ended_after_the_last(
    pytester: pytest.Pytester, boots: Boots
) -> None:
    assert_outcome(
        pytester,
        """
        def test_before(): pass
        def test_one(router): assert router.guest("client").run("uname").stdout == "client$ uname\\n"
        def test_two(router):
            assert list(router.guests) == ["server", "client", "small", "cut-off"]
            assert router.guest("client").address == "10.77.0.3"
        def test_after():
            from router.control.place import running
            assert running() == []
        """,
        passed=4,
    )
    assert len(boots.machines) == 1


def test_without_a_test_that_wants_it_nothing_boots(pytester: pytest.Pytester, boots: Boots) -> None:
    assert_outcome(pytester, "def test_alone(): pass", passed=1)
    assert boots.setups == []


def test_a_test_can_have_a_system_of_its_own(pytester: pytest.Pytester, boots: Boots) -> None:
    assert_outcome(
        pytester,
        """
        import pytest
        def test_one(router): pass
        @pytest.mark.router_fresh
        def test_two(router): pass
        def test_three(router): pass
        """,
        passed=3,
    )
    assert len(boots.machines) == 3


def test_the_options_say_what_runs_where(pytester: pytest.Pytester, boots: Boots) -> None:
    words = ("--router-on", "microkit", "--router-usb", "keyboard", "--router-usb", "mouse", "--router-capture")
    test = 'def test_one(router): assert router.mode == "microkit"'
    assert_outcome(pytester, test, *words, "--router-boot-timeout", "17", passed=1)
    (setup,) = boots.setups
    assert (setup.on, setup.usb, setup.capture, setup.boot_timeout) == ("microkit", ("keyboard", "mouse"), True, 17.0)
    assert setup.description.name == "qemu.yaml"


def test_the_ini_file_can_name_the_system(pytester: pytest.Pytester, boots: Boots) -> None:
    text = Path(__file__).parents[2].joinpath("system-descriptions/qemu.yaml").read_text()
    pytester.makefile(".yaml", mine=text)
    pytester.makeini("[pytest]\nrouter = mine.yaml\nrouter_on = split\n")
    pytester.makepyfile("def test_one(router): pass")
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["router: */mine.yaml, on split"])
    assert boots.setups[0].description == pytester.path / "mine.yaml"


def test_a_conftest_can_name_another_system(pytester: pytest.Pytester, boots: Boots) -> None:
    pytester.makeconftest(
        """
        import pytest
        from pathlib import Path
        from router.testing import Setup
        @pytest.fixture(scope="module", params=["split", "microkit"])
        def router_setup(request): return Setup(description=Path("x.yaml"), on=request.param)
        """
    )
    pytester.makepyfile("def test_one(router): pass\ndef test_two(router): pass")
    pytester.runpytest_inprocess().assert_outcomes(passed=4)
    assert [setup.on for setup in boots.setups] == ["split", "microkit"]


def test_without_a_description_the_error_says_how_to_name_one(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_one(router): pass")
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*which system? pytest --router FILE*"])


def test_a_wrong_description_is_said_once_and_no_test_runs(pytester: pytest.Pytester) -> None:
    pytester.makefile(".yaml", wrong="system: x\nbord: qemu\n")
    pytester.makepyfile("def test_one(router): pass")
    result = pytester.runpytest_inprocess("--router", "wrong.yaml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--router wrong.yaml: *", "*unknown field 'bord'*"])


def test_a_need_that_the_mode_does_not_have_skips_before_the_boot_and_says_why(
    pytester: pytest.Pytester, boots: Boots
) -> None:
    text = """
        import pytest
        @pytest.mark.router_needs("plug", "capture")
        def test_one(router): pass
        """
    result = assert_outcome(pytester, text, "--router-on", "microkit", "-rs", skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*capture: the switch is a protection domain*(this system: microkit)"])
    assert boots.setups == []


def test_what_the_mode_cannot_do_skips_the_test_that_asks_for_it(pytester: pytest.Pytester, boots: Boots) -> None:
    text = "def test_one(router): router.plug('keyboard')"
    result = assert_outcome(pytester, text, "--router-on", "desk", "-rs", skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*a person has to plug devices into a board: give --router-interactive*"])


def test_an_unknown_need_is_an_error(pytester: pytest.Pytester, boots: Boots) -> None:
    text = "import pytest\n@pytest.mark.router_needs('plgu')\ndef test_one(router): pass"
    assert_outcome(pytester, text, errors=1).stdout.fnmatch_lines(["*no such need 'plgu'; there are: *plug*"])


def test_a_command_that_fails_shows_what_the_guest_said(pytester: pytest.Pytester, boots: Boots) -> None:
    result = assert_outcome(pytester, "def test_one(router): router.guest('client').run('exit 3')", failed=1)
    result.stdout.fnmatch_lines(["*client: exit code 3: exit 3", "*leaving"])


def test_a_failure_has_consoles_time_line_and_capture_in_the_report_and_as_files(
    pytester: pytest.Pytester, boots: Boots
) -> None:
    report = ("--junitxml", "report.xml", "-o", "junit_logging=system-out")
    words = (*report, "--router-logs", "kept", "--router-capture")
    result = assert_outcome(
        pytester, "def test_one(router): assert 0\ndef test_two(router): pass", *words, failed=1, passed=1
    )
    result.stdout.fnmatch_lines(["*client.console, the last lines*", "*\\x1b[[]2Jbooted", "*time line*"])
    assert "\x1b" not in result.stdout.str()
    one, two = ElementTree.parse(pytester.path / "report.xml").iter("testcase")
    properties = {each.get("name"): each.get("value") for each in one.iter("property")}
    assert properties["router.boot.client.userspace"] == "2.25"
    console = Path(str(properties["router.client.console"]))
    assert console.is_relative_to(pytester.path / "kept")
    assert "login:" in console.read_text()
    assert console.stat().st_mode & 0o777 == 0o600, "what guests say is not for other users"
    timeline = json.loads(Path(str(properties["router.timeline"])).read_text())
    assert {row["name"] for row in timeline} >= {"userspace", "attached"}
    capture = Path(str(properties["router.switch"]))
    assert capture.read_bytes() == CAPTURED and capture.parent == console.parent
    said = "".join(one.itertext())
    assert f"[[ATTACHMENT|{capture}]]" in said
    assert f"[[ATTACHMENT|{console}]]" in said and "login:" in said
    assert list(two.iter("property")) == []


def test_a_test_in_which_the_system_dies_fails_with_what_the_guest_said_and_the_rest_has_a_new_one(
    pytester: pytest.Pytester, boots: Boots
) -> None:
    result = assert_outcome(
        pytester,
        """
        def test_one(router): router.machine.die("kernel panic: no reason")
        def test_two(router): router.guest("client").run("true")
        def test_three(router): pass
        """,
        failed=1,
        passed=2,
    )
    result.stdout.fnmatch_lines(
        ["*the system has ended in this test: guest 'client' is gone: kernel panic: no reason", "*oops"]
    )
    assert len(boots.machines) == 2


def test_a_test_that_failed_anyway_says_that_the_system_died(pytester: pytest.Pytester, boots: Boots) -> None:
    text = "def test_one(router):\n    router.machine.die('panic')\n    assert 1 == 2"
    result = assert_outcome(pytester, text, failed=1)
    result.stdout.fnmatch_lines(["*assert 1 == 2*", "*the system has ended in this test*panic*"])


def test_a_system_that_does_not_come_up_is_not_tried_for_each_test(pytester: pytest.Pytester, boots: Boots) -> None:
    boots.failures = ["not up after 300 s: guest 'client' is not up"]
    result = assert_outcome(pytester, "def test_one(router): pass\ndef test_two(router): pass", errors=2)
    result.stdout.fnmatch_lines(["*not up after 300 s*", "*it was tried once, and not again*"])
    assert len(boots.setups) == 1


ERRORS = [
    lambda: DescriptionErrors([Diagnostic("x.yaml", ("guests: {}",), Span(1, 1, 1, 7), "no guest has it")]),
    lambda: IsolationError([Difference("server", "the channel", ("one",), (), ())]),
    lambda: HostError("there is no dtc", hint="apt-get install device-tree-compiler"),
]


@pytest.mark.parametrize("make", ERRORS, ids=["description", "isolation", "host"])
@pytest.mark.parametrize("marked", ["", "@pytest.mark.router_needs('plug')\n"], ids=["alone", "with needs"])
def test_a_plan_that_is_wrong_is_tried_once_and_said_whole_for_each_test(
    pytester: pytest.Pytester,
    boots: Boots,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[], RouterError],
    marked: str,
) -> None:
    plans: list[object] = []
    error = make()

    def plan(setup: object) -> None:
        plans.append(setup)
        raise error

    monkeypatch.setattr(pool, "plan", plan)
    tests = "".join(f"{marked}def test_{name}(router): pass\n" for name in ("one", "two", "three"))
    result = assert_outcome(pytester, f"import pytest\n{tests}", errors=3)
    said = result.stdout.str()
    first = re.escape(str(error).splitlines()[0])
    assert len(re.findall(rf"^E +router\.[\w.]+\.{type(error).__name__}: {first}$", said, re.M)) == 3
    assert len(re.findall(rf"^E +{re.escape(pool.AGAIN)}$", said, re.M)) == 2
    assert "TypeError" not in said and len(plans) == 1 and boots.setups == []


def test_a_restart_boots_again(pytester: pytest.Pytester, boots: Boots) -> None:
    text = """
        def test_one(router):
            router.machine.die("on purpose")
            router.restart()
            router.guest("client").run("true")
        """
    assert_outcome(pytester, text, passed=1)
    assert len(boots.machines) == 2


def test_what_a_test_plugs_in_is_out_after_it(pytester: pytest.Pytester, boots: Boots) -> None:
    text = """
        def test_one(router):
            router.unplug(router.plug("mouse"))
            assert router.plug("keyboard").busid == "1-1"
            disk = router.plug_disk(b"x" * 512)
            assert disk.image.read_bytes() == b"x" * 512 and disk.port == 2
            assert [plug.kind for plug in router.machine.system.usb.plugged()] == ["keyboard", "storage"]
        def test_two(router):
            assert router.machine.system.usb.plugged() == []
        """
    assert_outcome(pytester, text, passed=2)
    assert len(boots.machines) == 1


def test_what_cannot_be_unplugged_is_an_error_and_the_next_test_has_a_new_system(
    pytester: pytest.Pytester, boots: Boots
) -> None:
    text = """
        from router.errors import MachineError
        def test_one(router):
            router.plug("keyboard")
            def stuck(port): raise MachineError("QEMU does not let it go")
            router.machine.system.usb.unplug = stuck
        def test_two(router):
            assert router.machine.system.usb.plugged() == []
        """
    result = assert_outcome(pytester, text, passed=2, errors=1)
    result.stdout.fnmatch_lines(
        ["*ERROR at teardown of test_one*", "*what the test plugged in is not out; the next test gets a new system"]
    )
    result.stdout.fnmatch_lines(["*keyboard (1-1): error: QEMU does not let it go"])
    assert len(boots.machines) == 2


def test_what_a_test_has_unplugged_by_other_ways_or_has_died_with_the_system_is_no_error(
    pytester: pytest.Pytester, boots: Boots
) -> None:
    text = """
        def test_one(router):
            plugged = router.plug("keyboard")
            with router.connect() as connection:
                connection.unplug(plugged.port)
        def test_two(router):
            router.plug("keyboard")
            router.machine.die("on purpose")
            router.restart()
        def test_three(router):
            router.plug("keyboard")
            router.machine.die("panic")
        """
    assert_outcome(pytester, text, passed=2, failed=1)


def test_an_event_of_the_last_test_that_comes_late_is_not_the_next_ones(
    pytester: pytest.Pytester, boots: Boots
) -> None:
    text = """
        import pytest
        from router.testing import GuestFailure
        LINE = ("client", "router: guest client: detached 9-9 port 1")
        def test_one(router): router.machine.system.late.append(LINE)
        def test_two(router):
            with pytest.raises(GuestFailure, match="no event 'detached'"):
                router.wait_for_event("detached", timeout=1)
            router.machine.system.late.append(LINE)
            router.wait_for_event("detached")
        """
    assert_outcome(pytester, text, passed=2)
    assert len(boots.machines) == 1


def test_after_unplug_and_detach_all_that_had_the_device_have_said_so(pytester: pytest.Pytester, boots: Boots) -> None:
    text = """
        import threading
        def test_one(router):
            system = router.machine.system
            plugged = router.plug("keyboard")
            say = lambda what: system.timeline.line("client", f"router: guest client: {what} 1-1 port 1")
            say("attached")
            router.wait_for_event("attached", detail="1-1 ")
            timer = threading.Timer(0.5, say, ["detached"])
            timer.start()
            router.unplug(plugged)
            assert [event.detail for event in router.events("detached")] == ["1-1 port 1"]
            router.detach("client", "keyboard")
            assert [event.detail for event in router.events("detached")] == ["1-1 port 1", "1-2 port 5"]
            router.attach("small", "1-2")
            assert router.events("attached", "small")[-1].detail == "1-2 port 1"
        """
    assert_outcome(pytester, text, passed=1)


def test_devices_are_attached_and_detached_and_events_tell(pytester: pytest.Pytester, boots: Boots) -> None:
    text = """
        import pytest
        from router.testing import GuestFailure
        def test_one(router):
            assert {device.busid: device.holder for device in router.devices()}["1-2"] == "client"
            assert router.detach("client", "keyboard").number == 5
            assert router.wait_for_event("detached", "client").detail == "1-2 port 5"
            assert router.attach("small", "1-2").number == 1
            router.wait_for_event("attached", "small", detail="1-2")
            assert [event.name for event in router.events(guest="small")] == ["userspace", "attached"]
            assert router.milestones()["client userspace"] == 2.25
        def test_two(router):
            with pytest.raises(GuestFailure, match="no event 'attached' of guest 'small' within 0.1 s"):
                router.wait_for_event("attached", "small", timeout=0.1)
        """
    assert_outcome(pytester, text, passed=2)
    assert len(boots.machines) == 1


def test_a_frozen_guest_goes_on_also_when_the_test_fails(pytester: pytest.Pytester, boots: Boots) -> None:
    text = """
        def test_one(router):
            with router.freeze("client"):
                assert router.machine.frozen == ["client"]
                assert 0
        def test_two(router): assert router.machine.frozen == []
        """
    assert_outcome(pytester, text, failed=1, passed=1)
    assert len(boots.machines) == 1


def test_a_guest_is_reset_or_killed_and_a_killed_one_must_be_booted_again(
    pytester: pytest.Pytester, boots: Boots
) -> None:
    text = """
        def test_one(router):
            client = router.guest("client")
            for again in (client.reset, client.restart):
                since = router.next_event
                again()
                router.wait_for_event("userspace", "client", since=since)
            client.kill()
            router.restart()
            router.guest("client").run("true")
        def test_two(router): router.guest("client").kill()
        def test_three(router): router.guest("client").run("true")
        """
    result = assert_outcome(pytester, text, passed=2, failed=1)
    result.stdout.fnmatch_lines(["*the system has ended in this test: guest 'client' is gone: client was killed"])
    assert len(boots.machines) == 3


def test_a_guest_that_gets_into_no_root_of_its_own_says_why_and_of_its_last_start_only(
    pytester: pytest.Pytester, boots: Boots
) -> None:
    text = """
        import pytest
        from router.testing import GuestFailure
        def test_one(router):
            client, system = router.guest("client"), router.machine.system
            say = lambda what: system.timeline.line("client", f"router: guest client: {what}")
            system.failing = ["/run/router/switched"]
            say("no root: no routed disk has LABEL=X within 120 s; the guest stays in its initramfs")
            with pytest.raises(GuestFailure, match="client: no root file system: no routed disk has LABEL=X within"):
                client.wait_for_root(60)
            say("userspace up")
            with pytest.raises(GuestFailure, match="client: not in its root within 0.2 s"):
                client.wait_for_root(0.2)
            system.failing = []
            client.wait_for_root(60)
        """
    assert_outcome(pytester, text, passed=1)


def test_a_console_is_typed_into_and_read(pytester: pytest.Pytester, boots: Boots) -> None:
    text = """
        import pytest
        from router.testing import ConsoleFailure
        def test_one(router):
            with router.guest("client").console() as console:
                console.send("ls\\n")
                assert console.expect(r"typed (\\w+)")[1] == "ls"
                with pytest.raises(ConsoleFailure, match="not within 0.1 s: 'typed'"):
                    console.expect("typed", 0.1)
        """
    assert_outcome(pytester, text, passed=1)
    assert len(boots.machines) == 1


@pytest.mark.slow
def test_each_worker_of_xdist_has_a_system_of_its_own(
    pytester: pytest.Pytester, runtime_folder: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    pytester.makeconftest(
        """
        from router.testing import pool
        from tests.testing.fake import Boots
        pool.start, pool.plan, pool.choose_mode = Boots().start, lambda setup: None, lambda on, planned: "split"
        """
    )
    pytester.makepyfile(
        """
        import pytest, time
        from pathlib import Path
        @pytest.mark.parametrize("n", range(2))
        def test_one(router, n):
            Path(f"../{n}").write_text(router.name)
            end = time.monotonic() + 60
            while not Path(f"../{1 - n}").exists(): # both at once
                assert time.monotonic() < end
                time.sleep(0.05)
            router.guest("client").run("true")
            assert router.name != Path(f"../{1 - n}").read_text()
        """
    )
    folder = pytester.mkdir("work")
    tests = pytester.path / "test_each_worker_of_xdist_has_a_system_of_its_own.py"
    monkeypatch.chdir(folder)
    result = pytester.runpytest_subprocess(*OPTIONS, "-n", "2", str(tests))
    result.assert_outcomes(passed=2)


def test_what_a_console_has_said_since_the_boot_is_there_and_where_it_is_kept(
    pytester: pytest.Pytester, boots: Boots
) -> None:
    assert_outcome(
        pytester,
        """
        import pytest
        from router.errors import MachineError
        def test_one(router):
            assert router.guest("client").said().endswith("booted\\nlogin:\\n")
            assert [path.name for path in router.logs] == ["client.console.log"]
            with pytest.raises(MachineError, match="no console of it is kept on this computer"):
                router.guest("small").said()
        """,
        passed=1,
    )
