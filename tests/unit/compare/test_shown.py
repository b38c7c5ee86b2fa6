"""What is made of a comparison: JSON, tables, pictures, a page."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leasekit.cli.compare import page, plots, results, tables
from leasekit.cli.compare.metrics import METRICS, SCENARIO_NAMES, Metric, Unit
from leasekit.cli.compare.plots import Axis, Strip
from support.comparison import NASTY, comparison

SVG = "{http://www.w3.org/2000/svg}"
HTML = "{http://www.w3.org/1999/xhtml}"


def metric(name: str) -> Metric:
    return next(metric for metric in METRICS if metric.name == name)


def parsed(document: str) -> ElementTree.Element:
    return ElementTree.fromstring(document.removeprefix("<!doctype html>"))


# Figures.


def test_every_scenario_has_figures_and_every_figure_a_name_of_its_own() -> None:
    assert {metric.scenario for metric in METRICS} == set(SCENARIO_NAMES)
    assert len({metric.name for metric in METRICS}) == len(METRICS)


# JSON.


def test_json_holds_the_raw_samples_beside_what_is_said_of_them() -> None:
    data = json.loads(json.dumps(results.as_data(comparison())))
    found = data["stores"][0]["measured"]["handover_s"]
    assert found["samples"] == [0.004, 0.006, 0.3]
    assert (found["count"], found["least"], found["median"], found["most"]) == (3, 0.004, 0.006, 0.3)
    assert data["stores"][0]["promises"]["expires_within_s"] == 5.5
    assert data["complete"] is False


def test_a_comparison_comes_back_from_its_json() -> None:
    data = json.loads(json.dumps(results.as_data(comparison())))
    assert results.as_data(results.from_data(data)) == data


def test_a_comparison_is_complete_if_nothing_failed() -> None:
    whole = comparison()
    whole.stores = whole.stores[:1]
    assert whole.complete


# Text.


def test_the_table_has_a_row_for_each_figure_and_a_column_for_each_store_that_was_measured() -> None:
    heads, rows = tables.measured(comparison())
    assert heads == ["", "etcd x3", f"SQLite {NASTY}"]
    by_name = {row[0]: row[1:] for row in rows}
    assert by_name["acquire + release, ms"] == ["20.5 (40)", "2"]
    assert by_name["handover, ms"] == ["6 (300)", "-"]
    assert by_name["failover after kill -9, s"] == ["4.80 (5.10)", "4.90"]
    assert by_name["leadership survived"] == ["1 of 2", "-"]
    assert by_name["stale writes accepted"] == ["0 of 2", "-"]


def test_what_was_measured_stands_beside_what_is_promised() -> None:
    heads, rows = tables.promised(comparison())
    assert heads[1:] == ["etcd x3", f"SQLite {NASTY}"], "who did not start has promised nothing"
    told = {row[0]: row[1] for row in rows}
    assert (told["lease gone within"], told["failover here, slowest"]) == ("5.5 s", "5.10 s")


def test_what_is_missing_is_said_with_the_reason() -> None:
    said = [f"{subject}: {text}" for subject, text in tables.remarks(comparison())]
    assert said == [
        f"SQLite {NASTY}: handover: failed: {NASTY}",
        (
            f"SQLite {NASTY}: failover of the leader: 2 samples do not count, since the lease had run out before: "
            "this machine is too busy for such leases"
        ),
        f"SQLite {NASTY}: failover of the store's own leader: left out: takes a store of three servers",
        f"Consul x1: could not be measured: {NASTY}",
        f"consul3: left out: no program {NASTY}",
    ]


def test_no_escape_sequence_reaches_the_terminal() -> None:
    assert "\x1b" not in tables.as_text(comparison())


def test_a_run_in_which_nothing_could_be_measured_is_still_told() -> None:
    nothing = comparison()
    nothing.stores = nothing.stores[2:]
    assert "could not be measured" in tables.as_text(nothing)
    parsed(page.as_html(nothing))


# The page.


def test_the_page_is_well_formed_and_takes_nothing_from_elsewhere() -> None:
    html = page.as_html(comparison())
    root = parsed(html)
    names = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert not names & {"script", "link", "img", "iframe", "object"}
    assert not [name for element in root.iter() for name in element.attrib if name.startswith("on") or "href" in name]
    assert "url(" not in html and "@import" not in html


def test_what_a_store_says_cannot_become_markup() -> None:
    html = page.as_html(comparison())
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "\x1b" not in html


def test_the_page_plots_each_distribution_with_a_dot_for_each_sample() -> None:
    pictures = list(parsed(page.as_html(comparison())).iter(f"{SVG}svg"))
    plotted = [metric for metric in comparison().metrics if metric.plotted]
    assert len(pictures) == len(plotted)
    dots = [len([e for e in picture.iter(f"{SVG}circle") if e.get("class") == "dot"]) for picture in pictures]
    assert dots == [sum(len(store.of(metric)) for store in comparison().stores) for metric in plotted]


def test_the_plot_of_failovers_shows_what_is_promised() -> None:
    root = parsed(page.picture(comparison(), ["failover_s"]))
    promised = [element for element in root.iter(f"{SVG}line") if element.get("class") == "promise"]
    assert len(promised) == 2


def test_the_page_can_be_read_on_dark_ground() -> None:
    assert "prefers-color-scheme:dark" in plots.STYLE


# Plots.


@settings(deadline=None)
@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=30))
def test_every_value_has_its_place_on_the_axis_in_order(values: list[float]) -> None:
    axis = Axis.around(values)
    places = [axis.x(value) for value in sorted(values)]
    assert places == sorted(places)
    assert axis.x(axis.low) - 0.01 <= places[0] and places[-1] <= axis.x(axis.high) + 0.01


@settings(deadline=None)
@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=30))
def test_an_axis_has_some_round_marks_and_none_outside(values: list[float]) -> None:
    axis = Axis.around(values)
    marks = axis.marks()
    assert 1 <= len(marks) <= 10
    assert all(axis.low <= mark <= axis.high for mark in marks)


def test_values_that_differ_by_far_are_drawn_logarithmically_unless_one_is_zero() -> None:
    assert Axis.around([0.001, 1.0]).logarithmic
    assert not Axis.around([0.5, 1.0]).logarithmic
    assert not Axis.around([0.0, 0.001, 1.0]).logarithmic
    assert not Axis.around([0.0]).logarithmic


def test_the_box_reaches_from_quartile_to_quartile() -> None:
    svg = plots.as_svg(
        [plots.chart(metric("failover_s"), [Strip("a", [1.0, 2.0, 3.0, 4.0, 5.0])], scale=1, unit="s")], ""
    )
    axis = Axis.around([1.0, 5.0])
    [box] = [element for element in parsed(svg).iter(f"{SVG}rect") if element.get("class") == "box"]
    assert float(box.attrib["x"]) == pytest.approx(axis.x(2), abs=0.1)
    assert float(box.attrib["width"]) == pytest.approx(axis.x(4) - axis.x(2), abs=0.2)


def test_very_many_samples_are_thinned_and_keep_their_extremes() -> None:
    samples = [float(number) for number in range(1, 100_001)]
    svg = plots.as_svg([plots.chart(metric("acquire_s"), [Strip("a", samples)], scale=1, unit="s")], "")
    dots = list(parsed(svg).iter(f"{SVG}circle"))
    places = [float(dot.attrib["cx"]) for dot in dots]
    axis = Axis.around([1.0, 100_000.0])
    assert len(dots) < 1000
    assert (min(places), max(places)) == pytest.approx((axis.x(1), axis.x(100_000)), abs=0.1)


def test_seconds_are_shown_in_milliseconds_where_all_are_short() -> None:
    assert tables.scale_of(metric("handover_s"), [[0.2], [0.9]]) == (1000.0, "ms")
    assert tables.scale_of(metric("handover_s"), [[0.2], [1.2]]) == (1.0, "s")
    assert tables.scale_of(metric("renewal_bytes"), [[400.0]]) == (1.0, "B")
    assert metric("renewal_bytes").unit is Unit.BYTES
