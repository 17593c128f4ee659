"""The built site in a browser, on a desk and on a phone.

Needs Chromium and a built site (``make book``). ``WASHOUT_SCREENSHOTS=folder`` keeps a picture of
each page.
"""

from __future__ import annotations

import os
import runpy
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[1]
HTML = ROOT / "_build" / "html"
CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
WIDTHS = (1400, 390)  # pixels: a desk, a phone

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
    pytest.mark.skipif(not (HTML / "index.html").is_file(), reason="no site: make book"),
]

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# Wide tables have to lie in a box that scrolls, as wide as the page at most.
LOOSE_TABLES = """() => [...document.querySelectorAll('article table')].filter(table => {
  if (!table.offsetParent) return false;
  const page = document.documentElement.clientWidth;
  if (table.getBoundingClientRect().right <= page + 1) return false;
  for (let box = table.parentElement; box && box.tagName !== 'ARTICLE'; box = box.parentElement) {
    const scrolls = ['auto', 'scroll'].includes(getComputedStyle(box).overflowX);
    if (scrolls && box.getBoundingClientRect().right <= page + 1) return false;
  }
  return true;
}).map(table => table.innerText.slice(0, 60))"""

BROKEN_IMAGES = """() => [...document.images].filter(i => i.complete && !i.naturalWidth)
  .map(i => i.src.slice(0, 100))"""

MISSING_ANCHORS = """anchors => anchors.filter(
  anchor => !document.getElementById(decodeURIComponent(anchor)))"""

# Fonts are there, scripts have nothing left to do, and what they changed is laid out.
SETTLED = """() => document.fonts.ready.then(() => new Promise(done =>
  requestIdleCallback(() => requestAnimationFrame(() => requestAnimationFrame(done)),
                      {timeout: 2000})))"""


def contents() -> list[str]:
    pytest.importorskip("bs4")
    check_site = runpy.run_path(str(ROOT / "book" / "check_site.py"))
    return check_site["pages"](ROOT / "book" / "_toc.yml")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *words) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=HTML))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module", params=WIDTHS)
def window(request, browser) -> Iterator:
    """A browser window of one width, whose cache serves all pages."""
    context = browser.new_context(viewport={"width": request.param, "height": 900})
    yield context
    context.close()


@pytest.fixture(scope="module")
def sound() -> dict[str, bool]:
    """Internal addresses that were asked for before: whether they answered."""
    return {}


@pytest.mark.parametrize("name", contents())
def test_page(name, site, window, sound):
    page = window.new_page()
    width = page.viewport_size["width"]
    faults: list[str] = []
    page.on("console", lambda m: faults.append(f"console: {m.text}") if m.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(f"script: {error}"))
    page.on("request", lambda r: _foreign(r.url, site, faults))
    page.on("requestfailed", lambda r: faults.append(f"request failed: {r.url[:120]}"))
    page.on(
        "response", lambda r: faults.append(f"{r.status}: {r.url}") if r.status >= 400 else None
    )
    page.goto(f"{site}/{name}.html", wait_until="load")
    page.evaluate(SETTLED)

    widths = page.evaluate(
        "() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    if widths[0] > widths[1]:
        faults.append(f"wider than the window: {widths[0]} of {widths[1]} pixels")
    faults += [f"table runs out of the page: {text!r}" for text in page.evaluate(LOOSE_TABLES)]
    faults += [f"broken image: {source}" for source in page.evaluate(BROKEN_IMAGES)]
    anchors = {}
    for link in page.evaluate("() => [...document.links].map(a => a.href)"):
        address, anchor = link.split("#")[0], urlsplit(link).fragment
        if not address.startswith(site):
            continue
        if address not in sound:
            sound[address] = window.request.get(address).ok
        if not sound[address]:
            faults.append(f"link leads nowhere: {link}")
        elif anchor and address == page.url.split("#")[0]:
            anchors[anchor] = link
    faults += [
        f"link to an anchor that is not there: {anchors[anchor]}"
        for anchor in page.evaluate(MISSING_ANCHORS, list(anchors))
    ]

    if os.environ.get("WASHOUT_SCREENSHOTS"):
        folder = Path(os.environ["WASHOUT_SCREENSHOTS"])
        folder.mkdir(parents=True, exist_ok=True)
        # A window as high as the page: a full-page picture of a lower one may come out shifted.
        height = page.evaluate("() => document.documentElement.scrollHeight")
        page.set_viewport_size({"width": width, "height": min(height, 16000)})
        page.evaluate(SETTLED)
        page.screenshot(path=folder / f"{name.replace('/', '-')}-{width}.png")
    page.close()
    assert not faults, "\n".join(dict.fromkeys(faults))


def _foreign(url: str, site: str, faults: list[str]) -> None:
    if not url.startswith((site, "data:", "blob:")):
        faults.append(f"asks another server: {url[:120]}")
