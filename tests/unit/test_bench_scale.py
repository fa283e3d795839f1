# SPDX-License-Identifier: BSD-2-Clause
"""How growth is told from figures."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from bench import scale
from router.description.load import load
from router.pipeline.inputs import plan_loaded


@pytest.mark.parametrize("power", [0, 0.5, 1, 2])
def test_the_exponent_of_a_power_is_that_power(power: float) -> None:
    values = {size: 0.3 * size**power for size in scale.SIZES}
    assert scale.exponent(values) == pytest.approx(power, abs=1e-9)


def test_what_grows_with_the_square_is_said_to_be_worse_than_linear() -> None:
    growth = {"plan": {size: 0.01 * size * size for size in scale.SIZES}, "build": {2: 1.0, 4: 2.0}}
    said = {row.name.split(",")[0]: row.unit for row in scale.rows(growth) if "grows" in row.name}
    assert said == {"plan": "(worse than linear)", "build": "(linear or better)"}


@pytest.mark.parametrize("guests", scale.SIZES)
def test_each_size_has_a_plan(tmp_path: Path, guests: int) -> None:
    path = tmp_path / "scale.yaml"
    path.write_text(scale.description(guests, "release"))
    planned = plan_loaded(load(path), tmp_path / "cache", lambda _: None)
    assert len(planned.plan.guests) == guests


def test_each_figure_is_plotted_with_all_its_values_and_lies_within_its_panel() -> None:
    growth = {"plan": {2: 0.1, 4: 0.3, 10: 0.9}, "switch, one frame": {2: 60.0, 32: 70.0}}
    drawing = ET.fromstring(scale.plots(growth))
    names = {"{http://www.w3.org/2000/svg}" + name for name in ("circle", "text")}
    circles, texts = ([one for one in drawing.iter() if one.tag == name] for name in sorted(names))
    assert len(circles) == 5
    assert all(0 <= float(one.get("cx", "")) <= 300 and 0 <= float(one.get("cy", "")) <= 190 for one in circles)
    said = [text.text for text in texts]
    assert {"plan", "0.90 s", "70.0 ns", "guests", "ports", "grows to the power of 0.1"} <= set(said)
