"""The HTML report: it holds what was estimated, works in a real browser without a network, and user text stays text.

The tests of the page itself need Chromium and Playwright's Python package. Without them they are skipped, or fail if
MIEST_REQUIRE_BROWSER=1.
"""

import json
import math
import os
import re
import shutil
from pathlib import Path
from time import monotonic, sleep

import pytest

from miest.plane.report import write_report
from miest.plane.row import Row
from miest.plane.trajectory import Trajectory
from miest.result import Flag

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync"]
ATTACK = '</script><img src=x onerror="document.title=1"><b>{{data}}'

NAMES = {"I_XT": "I(X;T+eps)", "I_XT[kde]": "I(X;T+eps)", "I_TY": "I(T;Y)", "dimension": "correlation dimension"}
TEXTS = {
    "I_XT": "GaussianChannel(std=0.1)",
    "I_XT[kde]": "KDE(noise_var=0.01)",
    "I_TY": "MixedKSG(k=3)",
    "dimension": "Own()",
}
LAYERS = ("fc1", "fc2", "fc3")
STEPS = (0, 1, 10, 100)


def row(step, layer, key, value, **more):
    return Row(step=step, layer=layer, quantity=key, value=value, name=NAMES[key], estimator=TEXTS[key], n=2000, **more)


def run(layers=LAYERS, steps=STEPS, extra=(), **settings):
    """I(X;T+eps) is 5, 4, 3 by one estimator and 1 more by the other; I(T;Y) is 1.8, 1.6, 1.4."""
    size = {"I_XT": (5.0, -1.0), "I_XT[kde]": (6.0, -1.0), "I_TY": (1.8, -0.2)}
    rows = [
        row(step, layer, key, start + slope * i + 0.01 * at)
        for at, step in enumerate(steps)
        for i, layer in enumerate(layers)
        for key, (start, slope) in size.items()
    ]
    quantities = [{"key": key, "axis": "y" if key == "I_TY" else "x", "name": NAMES[key]} for key in size]
    known = {"layers": layers, "quantities": quantities, "references": {"H(X)": math.log(2000), "H(Y)": 2.0}}
    scalars = {step: {"loss": 2.0 / (1 + at), "accuracy": 0.2 * at} for at, step in enumerate(steps)}
    return Trajectory(rows=(*rows, *extra), scalars=scalars, settings=known | settings)


def written(trajectory, folder, **options):
    return write_report(trajectory, folder / "report.html", **options).read_text(encoding="utf-8")


def data(text):
    """What the script of a page reads."""
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)[1])


# exact


def test_the_data_are_the_estimates_by_step_and_layer(tmp_path):
    extra = [
        row(1, "fc2", "I_XT", 4.123456789, interval=(4.0, 4.25), flags=("SATURATED", "TIES"), notes=("near ln n",)),
        row(0, "fc3", "I_TY", math.nan, kind="failed", notes=("ValueError: t is constant",)),
        row(0, "fc1", "I_TY", math.inf),
    ]
    found = data(written(run(extra=extra), tmp_path))
    assert found["steps"] == list(STEPS)
    assert found["layers"] == list(LAYERS)
    ixt, kde, ity = found["quantities"]
    assert ixt["value"] == [5.0, 4.0, 3.0, 5.01, 4.12346, 3.01, 5.02, 4.02, 3.02, 5.03, 4.03, 3.03]
    assert (ixt["low"][4], ixt["high"][4]) == (4.0, 4.25)
    assert ixt["low"][3] is None
    assert found["flags"][ixt["flags"][4]] == ["SATURATED", "TIES"]
    assert found["notes"][ixt["notes"][4]] == ["near ln n"]
    assert kde["value"][:3] == [6.0, 5.0, 4.0]
    assert ity["value"][:3] == ["infinite", 1.6, "failed"]
    assert found["notes"][ity["notes"][2]] == ["ValueError: t is constant"]
    assert (found["x"], found["y"]) == (0, 2)
    assert (ixt["settings"], ity["settings"]) == (TEXTS["I_XT"], TEXTS["I_TY"])
    assert found["scalars"]["loss"] == [[0, 2.0], [1, 1.0], [10, 2 / 3], [100, 0.5]]
    assert found["references"]["y"] == {"name": "H(Y)", "value": 2.0}
    assert "Left out: 1 failed and 1 infinite of 36 estimates." in found["n"]


def test_flags_and_failures_stand_in_words(tmp_path):
    extra = [
        row(1, "fc2", "I_XT", 4.0, flags=("SATURATED",)),
        row(0, "fc3", "I_TY", math.nan, kind="failed", notes=("ValueError: t is constant",)),
    ]
    text = written(run(extra=extra), tmp_path)
    assert '<td class="flag">SATURATED</td>' in text
    assert Flag.SATURATED.value in text
    assert "ValueError: t is constant" in text
    assert data(text)["words"] == {"SATURATED": Flag.SATURATED.value}
    assert "No estimate is flagged." in written(run(), tmp_path)


def test_what_processing_cannot_do_is_marked_and_said(tmp_path):
    extra = [row(10, "fc2", "I_TY", 1.95)]
    found = data(written(run(extra=extra), tmp_path))
    assert found["quantities"][2]["wrong"] == [2 * 3 + 1]
    assert found["quantities"][0]["wrong"] == []
    assert "which no processing can do" in found["quantities"][2]["processing"]
    text = written(run(extra=[*extra, row(0, "fc1", "dimension", 3.0)]), tmp_path)
    assert "correlation dimension may rise" not in text[text.index("Processing cannot") : text.index("Settings")]
    text = written(run(extra=extra), tmp_path, chain=False)
    assert data(text)["quantities"][2]["wrong"] == []
    assert "No layer here is a function of" in text


def test_settings_of_the_run_are_tables(tmp_path):
    text = written(run(model={"class": "torch.nn.Sequential", "parameters": 7}, probe="ab12", when=None), tmp_path)
    assert '<tr><th scope="row">model.parameters</th><td>7</td></tr>' in text
    assert '<tr><th scope="row">layers</th><td>fc1, fc2, fc3</td></tr>' in text
    assert "<title>Information plane of Sequential</title>" in text
    assert ">when<" not in text


# properties


def test_the_page_names_no_address_and_forbids_all_but_its_own_script(tmp_path):
    text = written(run(), tmp_path)
    addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", text.replace("http://www.w3.org/2000/svg", "")))
    assert addresses == set()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy


def test_two_reports_of_the_same_run_are_equal(tmp_path):
    assert written(run(), tmp_path) == written(run(), tmp_path)


def test_text_of_the_run_cannot_leave_its_place(tmp_path):
    made = run(layers=(ATTACK, "a\ud800", "{{script}}"), note=ATTACK, extra=())
    text = written(made, tmp_path, title=ATTACK)
    assert text.count("<script") == 2
    assert "<img" not in text
    assert data(text)["layers"] == [ATTACK, "a\ud800", "{{script}}"]


def test_notes_that_would_fill_the_page_are_left_out_but_for_failures(tmp_path, monkeypatch):
    monkeypatch.setattr("miest.plane.report._NOTES", 20)
    extra = [
        row(1, "fc2", "I_XT", 4.0, flags=("SATURATED",), notes=("x" * 15,)),
        row(0, "fc3", "I_TY", math.nan, kind="failed", notes=("y" * 15,)),
    ]
    assert data(written(run(extra=extra), tmp_path))["notes"] == [[], ["y" * 15]]


# refusals


def test_a_run_without_estimates_is_refused(tmp_path):
    with pytest.raises(ValueError, match="the run has no estimate yet"):
        write_report(Trajectory(settings={"layers": ["fc1"]}), tmp_path / "a.html")
    assert not (tmp_path / "a.html").exists()


# workflow, in a browser


def missing(what):
    """Skip, unless a browser is required."""
    if os.environ.get("MIEST_REQUIRE_BROWSER") == "1":
        pytest.fail(f"MIEST_REQUIRE_BROWSER=1, but {what}")
    pytest.skip(what)


@pytest.fixture(scope="module")
def browser():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("the tests of the page need Playwright: pip install playwright.")
    if not Path(CHROMIUM).exists():
        missing("the tests of the page need Chromium: apt-get install chromium.")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield started
        started.close()


@pytest.fixture
def opened(browser, tmp_path):
    """Opens the report of a run; at the end there must have been no error, no message and no request."""
    heard, asked, pages = [], [], []

    def open_report(trajectory, *, media="light", size=(1280, 900), **options):
        path = write_report(trajectory, tmp_path / "page.html", **options)
        page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=media)
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        pages.append(page)
        page.goto(path.as_uri())
        asked[:] = [url for url in asked if url != path.as_uri() and not url.startswith("data:")]
        return page

    yield open_report
    for page in pages:
        page.close()
    assert heard == []
    assert asked == []


def current(page):
    """The line of the step in hand, as it is drawn."""
    return page.locator("#current path").last.get_attribute("d")


def table(page):
    return [cells.split("\t") for cells in page.locator("#now tbody").inner_text().split("\n") if cells.strip()]


def until(holds, seconds=20):
    """Wait for it: the page allows no script but its own, so that the browser cannot be asked to."""
    end = monotonic() + seconds
    while not holds():
        assert monotonic() < end
        sleep(0.02)


def test_playing_moves_the_step_and_stops_at_the_end(opened):
    page = opened(run())
    at = page.locator("#at")
    assert at.inner_text() == "step 100"
    page.get_by_role("button", name="Play").click()
    for step in ("step 0", "step 1", "step 10", "step 100"):  # each is there for 0.7 s
        until(lambda step=step: at.inner_text() == step)
    page.get_by_role("button", name="Play").wait_for()


def test_pausing_holds_the_step(opened):
    page = opened(run(steps=tuple(range(60))))
    page.get_by_role("button", name="Play").click()
    until(lambda: int(page.get_by_label("Step of training").input_value()) > 3)
    page.get_by_role("button", name="Pause").click()
    held = page.locator("#at").inner_text()
    page.wait_for_timeout(500)
    assert page.locator("#at").inner_text() == held


def test_scrubbing_shows_the_steps_up_to_this_one(opened):
    page = opened(run())
    seen = "#trail > g:not([display])"
    assert page.locator(seen).count() == 4
    page.get_by_label("Step of training").fill("1")
    assert page.locator("#at").inner_text() == "step 1"
    assert page.locator(seen).count() == 2
    page.get_by_role("combobox", name="Show").select_option(label="all steps")
    assert page.locator(seen).count() == 4
    page.get_by_role("combobox", name="Show").select_option(label="this step alone")
    assert page.locator(seen).count() == 0
    page.get_by_role("button", name="Previous step").click()
    assert page.locator("#at").inner_text() == "step 0"
    assert page.get_by_label("Step of training").get_attribute("aria-valuetext") == "step 0"


def test_choosing_an_estimator_changes_the_points_and_the_words(opened):
    page = opened(run())
    before = current(page)
    assert table(page)[0][:3] == ["fc1", "5.030", "1.830"]
    page.get_by_role("combobox", name="Across").select_option(label="I(X;T+ε): KDE(noise_var=0.01)")
    assert current(page) != before
    assert table(page)[0][:3] == ["fc1", "6.030", "1.830"]
    assert "KDE(noise_var=0.01)" in page.locator("#caption").inner_text()
    page.get_by_role("combobox", name="Units").select_option("bits")
    assert table(page)[0][1] == f"{6.03 / math.log(2):.3f}"
    page.get_by_role("combobox", name="Up").select_option(label="I(X;T+ε): GaussianChannel(std=0.1)")
    assert table(page)[0][2] == f"{5.03 / math.log(2):.3f}"


def test_a_dimension_has_no_units(opened):
    page = opened(run(extra=[row(step, layer, "dimension", 3.5) for step in STEPS for layer in LAYERS]))
    page.get_by_role("combobox", name="Across").select_option(label="correlation dimension: Own()")
    page.get_by_label("Units").select_option("bits")
    assert table(page)[0][1] == "3.500"
    assert page.locator("#now thead th").nth(1).inner_text() == "correlation dimension"


def test_layers_can_be_left_out(opened):
    page = opened(run())
    page.get_by_role("checkbox", name="fc2").uncheck()
    assert [cells[0] for cells in table(page)] == ["fc1", "fc3"]
    assert "2 layers" in page.locator("#plane").get_attribute("aria-label")
    page.get_by_role("button", name="Show none of the layers").click()
    assert table(page) == []
    page.get_by_role("button", name="Show all of the layers").click()
    assert len(table(page)) == 3


def test_hovering_tells_the_numbers_and_the_flags(opened):
    extra = [row(100, "fc1", "I_XT", 5.03, interval=(4.9, 5.2), flags=("SATURATED",))]
    page = opened(run(extra=extra))
    tip = page.locator("#tip")
    assert tip.is_hidden()
    box = page.locator("#current .hollow").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    told = tip.inner_text()
    for words in ("fc1 step 100", "I(X;T+ε) 5.030 nats, 95% 4.900 to 5.200", Flag.SATURATED.value, "I(T;Y) 1.830 nats"):
        assert words in told, told
    page.mouse.move(2, 2)
    assert tip.is_hidden()


def test_the_keyboard_walks_through_steps_and_layers(opened):
    page = opened(run())
    page.locator("#plane").focus()
    page.keyboard.press("Home")
    assert page.locator("#at").inner_text() == "step 0"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert "fc2 step 1, I(X;T+ε) 4.010 nats" in page.locator("#said").text_content()
    assert page.locator("#now tr.chosen th").inner_text() == "fc2"
    page.keyboard.press(" ")
    assert page.get_by_role("button", name="Pause").is_visible()
    page.keyboard.press(" ")
    page.keyboard.press("End")
    assert page.locator("#at").inner_text() == "step 100"


def test_every_control_has_a_name(opened):
    page = opened(run())
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, select, input, svg:not(.swatch)")].filter((e) =>
            !(e.getAttribute("aria-label") || e.textContent.trim() && e.tagName === "BUTTON" ||
              e.closest("label")?.textContent.trim() || e.closest("svg[aria-hidden]"))).map((e) => e.outerHTML)"""
    )
    assert nameless == []
    assert page.locator("html").get_attribute("lang") == "en"


def test_a_click_into_a_timeline_goes_to_that_step(opened):
    page = opened(run())
    charts = page.locator("#timelines svg")
    assert charts.count() == 4
    assert page.locator("#timelines svg").first.locator(".line").count() == 3
    charts.first.click(position={"x": 50, "y": 60})
    assert page.locator("#at").inner_text() == "step 0"


def test_a_line_is_broken_where_an_estimate_failed(opened):
    page = opened(run(extra=[row(1, "fc2", "I_TY", math.nan, kind="failed", notes=("t is constant",))]))
    lines = page.locator("#timelines svg").nth(2).locator(".line")
    assert [lines.nth(i).get_attribute("d").count("M") for i in range(3)] == [1, 2, 1]
    page.get_by_label("Step of training").fill("1")
    assert table(page)[1] == ["fc2", "4.010", "failed", "t is constant"]
    assert "2 layers" in page.locator("#plane").get_attribute("aria-label")


def test_what_was_logged_once_is_a_dot(opened):
    once = run()
    page = opened(Trajectory(rows=once.rows, scalars={10: {"accuracy": 0.5}}, settings=once.settings))
    assert page.locator("#timelines figure").last.locator("circle[r='3']").count() == 1
    assert opened(once).locator("#timelines figure").last.locator("circle[r='3']").count() == 0


def test_crosses_mark_what_processing_cannot_do(opened):
    page = opened(run(extra=[row(10, "fc2", "I_TY", 1.95)]))
    assert page.locator("#trail .wrong").count() == 1
    assert page.locator("#trail g[data-step='2'] .wrong").count() == 1


def test_text_of_the_run_stays_text_in_the_page(opened):
    layers = (ATTACK, "fc2", "fc3")
    extra = [row(100, ATTACK, "I_XT", 5.0, notes=(ATTACK,), flags=("SATURATED",))]
    page = opened(run(layers=layers, extra=extra, note=ATTACK), title=ATTACK)
    assert page.title() == ATTACK
    assert page.locator("h1").inner_text() == ATTACK
    assert page.locator("img").count() == 0
    assert table(page)[0][0] == ATTACK
    page.locator("#plane").focus()
    page.keyboard.press("ArrowDown")
    assert ATTACK in page.locator("#tip").inner_text()


@pytest.mark.parametrize("media", ["light", "dark"])
def test_the_page_can_be_read_in_light_and_in_dark(opened, media):
    page = opened(run(), media=media)
    style = "getComputedStyle(document.body)"
    ink, paper = (
        [int(part) for part in re.findall(r"\d+", page.evaluate(f"{style}.{which}"))][:3]
        for which in ("color", "backgroundColor")
    )
    assert (sum(paper) > 3 * 128) == (media == "light")
    assert contrast(ink, paper) > 7
    darkest = page.locator("#trail g[data-step='0'] .solid").get_attribute("fill")
    assert contrast([int(part) for part in re.findall(r"\d+", darkest)], paper) > 1.7


def contrast(a, b):
    """Of two sRGB colours, as WCAG defines it."""
    light = sorted(
        0.05
        + sum(
            w * (c / 3294.6 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4)
            for w, c in zip((0.2126, 0.7152, 0.0722), color, strict=True)
        )
        for color in (a, b)
    )
    return light[1] / light[0]


def test_without_scripts_the_tables_are_there(browser, tmp_path):
    page = browser.new_page(java_script_enabled=False)
    page.goto(write_report(run(), tmp_path / "page.html").as_uri())
    assert "which is switched off here" in page.locator("main").inner_text()
    assert page.locator("#play").is_hidden()
    assert page.get_by_role("cell", name="GaussianChannel(std=0.1)").first.is_visible()
    page.close()


def test_it_prints_without_its_controls(opened, tmp_path):
    page = opened(run(), media="dark", size=(400, 800))
    page.emulate_media(media="print")
    assert page.locator("#play").is_hidden()
    assert page.locator("#now").is_visible()
    page.pdf(path=tmp_path / "a.pdf")
    assert (tmp_path / "a.pdf").stat().st_size > 10_000


def test_a_narrow_page_does_not_scroll_sideways(opened):
    page = opened(run(), size=(360, 700))
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("steps", [(0,), (0, 500), tuple(range(0, 1000))])
def test_few_and_many_steps_are_readable(opened, steps):
    layers = LAYERS if len(steps) < 3 else tuple(f"encoder.layer.{i}.mlp" for i in range(20))
    page = opened(run(layers=layers, steps=steps))
    page.get_by_label("Step of training").fill("0")
    assert page.locator("#trail > g:not([display])").count() == 1
    assert len(table(page)) == len(layers)
    assert page.locator("#plane *").count() < 12 * len(steps) + 200
