"""The viewer in a real browser: zoom, pan, layers, a tile's values, from a file and from the local server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from explain.devtools import Browser
from explain.hand_made_maps import HEIGHT, WIDTH, student_maps
from pathduet.explain.viewer.serve import server
from pathduet.explain.viewer.viewer_page import write_viewer

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TUMOR, TME = (213, 94, 0), (10, 122, 191)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A viewer of a slide that is green on the left, grey on the right; its id tries to be markup."""
    folder = tmp_path_factory.mktemp("viewer")
    picture = np.full((HEIGHT, WIDTH, 3), 200, np.uint8)
    picture[:, : WIDTH // 2] = (40, 160, 60)
    Image.fromarray(picture).save(folder / "slide.png")
    maps = student_maps()
    maps.tiles.attrs["slide_id"] = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
    write_viewer(folder / "page", {"index.html": maps}, folder / "slide.png", finest_mpp=1.0)
    return folder / "page"


@pytest.fixture(scope="module")
def browser(chromium: str, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(chromium, tmp_path_factory.mktemp("profile")) as browser:
        browser.open((folder / "index.html").as_uri())
        browser.wait("window.pathduet.loaded()")
        yield browser


def on_page(browser: Browser, x: float, y: float) -> tuple[float, float]:
    """Return where a level-0 pixel is in the window, by the viewer's own account."""
    at = browser.value(
        "(() => { const p = pathduet.placement(), b = pathduet.viewer.container.getBoundingClientRect();"
        f" return [b.left + p.x + {x} * p.k, b.top + p.y + {y} * p.k]; }})()"
    )
    return at[0], at[1]


def pixel(browser: Browser, x: float, y: float) -> tuple[int, ...]:
    """Return the colour of the overlay over a level-0 pixel, without what shines through."""
    return tuple(
        browser.value(
            "(() => { const p = pathduet.placement(), c = document.getElementById('overlay');"
            f" const r = c.width / c.getBoundingClientRect().width; return [...c.getContext('2d').getImageData("
            f"Math.round((p.x + {x} * p.k) * r), Math.round((p.y + {y} * p.k) * r), 1, 1).data]; }})()"
        )
    )


def choose(browser: Browser, title: str) -> None:
    index = browser.value(
        f"pathduet.data.layers.findIndex((l) => l.title + ', ' + l.magnification === '{title}')"
    )
    browser.click(f"input[name='layer'][value='{index}']")


def still(browser: Browser) -> None:
    """Wait until nothing moves any more and every picture is there."""
    browser.wait(
        "(() => { const p = JSON.stringify(pathduet.placement()), same = window.before === p; window.before = p;"
        " return same && pathduet.loaded(); })()"
    )


def test_the_slides_pictures_are_shown_from_a_file(browser: Browser, folder: Path):
    still(browser)
    assert browser.value("pathduet.failed()") == 0
    choose_none = "input[name='layer'][value='-1']"
    browser.click(choose_none)
    (folder.parent / "shot.png").write_bytes(browser.screenshot())
    with Image.open(folder.parent / "shot.png") as shot:
        green, grey = (shot.convert("RGB").getpixel(on_page(browser, x, 500)) for x in (500, 3500))
    assert (
        np.abs(np.subtract(green, (40, 160, 60))).max() < 12
        and np.abs(np.subtract(grey, (200,) * 3)).max() < 12
    )


def test_layers_switch_and_have_their_colours(browser: Browser):
    choose(browser, "Prototype, 10x")
    tumor, tme = pixel(browser, 500, 1500), pixel(browser, 2500, 1500)
    assert np.abs(np.subtract(tumor[:3], TUMOR)).max() <= 3 and np.abs(np.subtract(tme[:3], TME)).max() <= 3
    assert tumor[3] == pytest.approx(0.6 * 255, abs=2) and pixel(browser, 500, 500)[3] == 0
    choose(browser, "Prototype, 20x")
    assert pixel(browser, 750, 1750)[3] > 0 and pixel(browser, 2500, 1500)[3] == 0
    assert "prototype" in browser.value("document.getElementById('legend').innerText")
    choose(browser, "Attention of the patches, 10x")
    assert pixel(browser, 1500, 1500)[:3] == (255, 255, 255)  # a sampled point
    browser.click("#points")
    assert pixel(browser, 1500, 1500)[:3] != (255, 255, 255)
    browser.click("#points")


def test_opacity_is_the_sliders(browser: Browser):
    choose(browser, "Prototype, 10x")
    browser.value("(() => { const o = document.getElementById('opacity'); o.focus(); })()")
    for _ in range(4):
        for kind in ("keyDown", "keyUp"):
            browser.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key="ArrowLeft",
                code="ArrowLeft",
                windowsVirtualKeyCode=37,
            )
    assert browser.value("document.getElementById('opacity-text').textContent") == "40 %"
    assert pixel(browser, 500, 1500)[3] == pytest.approx(0.4 * 255, abs=2)


def test_a_tiles_values_stand_at_the_mouse_and_go_with_it(browser: Browser):
    choose(browser, "Merge weight, 10x")
    browser.mouse("mouseMoved", *on_page(browser, 1200, 1300))
    text = browser.wait("!document.getElementById('tip').hidden && document.getElementById('tip').innerText")
    lines = text.splitlines()
    assert lines[0] == "10x tile 1" and lines[lines.index("prototype") + 1] == "TME"
    assert lines[lines.index("merge weight, share") + 1] == "0.5"
    assert lines[lines.index("attention of the patches, × equal") + 1] == "0.9"
    browser.mouse("mouseMoved", *on_page(browser, 500, 300))  # no tile there
    browser.wait("document.getElementById('tip').hidden")


def test_the_wheel_zooms_at_the_mouse_and_the_scale_bar_follows(browser: Browser):
    browser.click("#home")
    still(browser)
    before = browser.value("pathduet.placement()")
    at = on_page(browser, 1000, 1500)
    browser.mouse("mouseMoved", *at)
    for _ in range(4):
        browser.mouse("mouseWheel", *at, deltaX=0, deltaY=-120)
        time.sleep(0.1)  # OpenSeadragon takes turns of the wheel closer than 50 ms for one
    browser.wait(f"pathduet.placement().k > 1.5 * {before['k']}")
    still(browser)
    assert on_page(browser, 1000, 1500) == pytest.approx(at, abs=6)
    bar = browser.value(
        "[document.getElementById('bar-line').getBoundingClientRect().width, document.getElementById('bar-text').textContent]"
    )
    microns = float(bar[1].split()[0]) * (1000 if bar[1].endswith("mm") else 1)
    assert bar[0] == pytest.approx(microns / 0.5 * browser.value("pathduet.placement().k"), rel=0.02)
    # the finer levels were asked for, and are there
    deepest = max(
        int(address.split("slide_files/")[1].split("/")[0])
        for address in browser.requests
        if "_files" in address
    )
    assert (
        deepest == browser.value("pathduet.data.pyramid.levels - 1")
        and browser.value("pathduet.failed()") == 0
    )


def test_dragging_moves_the_slide_and_the_overlay_with_it(browser: Browser):
    choose(browser, "Prototype, 10x")
    still(browser)
    before, (x, y) = browser.value("pathduet.placement()"), on_page(browser, 1000, 1500)
    browser.mouse("mousePressed", x, y, button="left", buttons=1, clickCount=1)
    for step in range(1, 6):
        browser.mouse("mouseMoved", x - 16 * step, y + 8 * step, button="left", buttons=1)
    browser.mouse("mouseReleased", x - 80, y + 40, button="left", clickCount=1)
    still(browser)
    after = browser.value("pathduet.placement()")
    assert after["k"] == pytest.approx(before["k"], rel=0.01)
    assert after["x"] < before["x"] - 50 and after["y"] > before["y"] + 20
    assert np.abs(np.subtract(pixel(browser, 900, 1500)[:3], TUMOR)).max() <= 3
    assert np.abs(np.subtract(pixel(browser, 1100, 1500)[:3], TME)).max() <= 3


def test_keys_alone_reach_every_control_and_work_it(browser: Browser):
    browser.call("Page.reload")
    browser.wait("window.pathduet.loaded()")
    seen = []
    for _ in range(20):
        browser.press("Tab", 9)
        name = browser.value("document.activeElement.id || document.activeElement.name")
        seen.append(name)
        if name == "home":
            browser.press("Enter", 13)
            still(browser)
            whole = browser.value("pathduet.placement().k")
        elif name == "zoom-in":
            before = browser.value("pathduet.placement().k")
            browser.press("Enter", 13)
            browser.wait(f"pathduet.placement().k > 1.2 * {before}")
        elif name == "layer":
            before = browser.value("document.querySelector('input[name=layer]:checked').value")
            browser.press("ArrowDown", 40)
            assert browser.value("document.querySelector('input[name=layer]:checked').value") != before
        elif name == "opacity":
            before = browser.value("document.getElementById('opacity').value")
            browser.press("ArrowLeft", 37)
            assert browser.value("document.getElementById('opacity').value") != before
            break
    # in the order of the page, none skipped; sampled points can be chosen for layers that have some
    wanted = ["slide", "zoom-in", "zoom-out", "home", "ground", "layer", "opacity"]
    assert [name for name in seen if name in wanted] == wanted and whole > 0


def test_axe_finds_nothing_serious(browser: Browser):
    assert browser.inaccessible() == []


def test_nothing_was_complained_about_nothing_came_from_elsewhere_and_no_id_became_markup(
    browser: Browser, folder: Path
):
    assert browser.complaints == []
    assert len(browser.requests) > 5
    assert all(address.startswith((folder.as_uri(), "data:")) for address in browser.requests)
    assert browser.value("document.images.length") == 0
    assert "<img src=x" in browser.value("document.querySelector('h1').textContent")


def test_a_script_that_got_into_the_page_does_not_run_and_is_reported(
    chromium: str, folder: Path, tmp_path: Path
):
    """The check above can fail."""
    page = folder / "changed.html"
    page.write_text(
        (folder / "index.html")
        .read_text()
        .replace(
            "</main>",
            "<script>document.title = 'taken'</script><img src='http://127.0.0.1:9/x.png' alt=''></main>",
        )
    )
    with Browser(chromium, tmp_path) as browser:
        browser.open(page.as_uri())
        browser.wait("window.pathduet.loaded()")
        assert browser.value("document.title") != "taken"
        assert sum("Content Security Policy" in line for line in browser.complaints) >= 2


def test_the_local_server_shows_the_same_page(chromium: str, folder: Path, tmp_path: Path):
    running = server(folder)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    try:
        with Browser(chromium, tmp_path) as browser:
            browser.open(running.address())
            browser.wait("window.pathduet.loaded()")
            assert browser.value("pathduet.failed()") == 0 and browser.complaints == []
    finally:
        running.shutdown()
        thread.join()
        running.server_close()
