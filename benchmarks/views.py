"""How quickly the app answers in Chromium, and how much memory its server takes, on runs of three sizes.

    PYTHONPATH=tests python -m benchmarks.views [--repeats 10] [--only demo]

Prints what was measured as JSON and as a Markdown table, and puts the table into docs/performance.md. Times of an
input are taken in the page: from the release of the mouse (or the last key) to the animation frame after every view
that has to change has changed.
"""

import argparse
import json
import os
import platform
import re
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from browser.driving import GALLERY, GRAPH, PROJECTION, drag, neuron_place, node_place, nodes, settled
from browser.serving import CHROMIUM, FLAGS, ROOT, serve
from playwright.sync_api import Browser, WebSocket, sync_playwright

from benchmarks.large_run import LARGE, MEDIUM, write_large_run
from benchmarks.measuring import spread, write_section
from neurocarto.runs.store import Run
from neurocarto.views.lookup import Lookup

VIEWPORT = {"width": 1280, "height": 800}
LASSOED = 5_000
"""Points that a lasso is drawn around."""
SESSIONS = 3
PATIENCE = 60_000
"""Milliseconds after which something that should have changed has not."""

WATCH = """(() => {
  let input = 0;
  for (const kind of ["pointerup", "keydown"]) addEventListener(kind, (event) => { input = event.timeStamp; }, true);
  const changed = ([selector, attribute]) => new Promise((resolve) => {
    const what = attribute ? { attributes: true, attributeFilter: [attribute] } : { childList: true };
    const observer = new MutationObserver(() => { observer.disconnect(); resolve(); });
    observer.observe(document.querySelector(selector), what);
  });
  window.watchFor = (wanted, patience) => {
    const late = new Promise((_, reject) => setTimeout(reject, patience, new Error("nothing changed")));
    const drawn = Promise.race([Promise.all(Object.entries(wanted).map(changed)), late]);
    window.drawn = drawn.then(() => new Promise(requestAnimationFrame)).then(() => performance.now() - input);
    window.pictured = window.drawn.then(window.allAnswered).then((last) => last - input);
  };
  // The time after which the views have waited for no picture or card for five frames.
  window.allAnswered = async () => {
    let last = performance.now();
    for (let calm = 0; calm < 5; calm++) {
      await new Promise(requestAnimationFrame);
      if (window.neurocarto.answers?.waiting.size ?? 1) [calm, last] = [0, performance.now()];
    }
    return last;
  };
})()"""
"""Set up in every page: `watchFor` the views that have to change; `drawn` then tells how long after the last input, and
`pictured` when the pictures in sight are there too.
"""
READY = f"""() => {{
  const drawn = ["{PROJECTION}", "{GRAPH}"].every((view) => document.querySelector(view)?.dataset.version);
  return drawn && document.querySelector("{GALLERY}")?.childElementCount && performance.timeOrigin + performance.now();
}}"""
"""The time (milliseconds since 1970) of the first animation frame in which all views show something."""
SELECTED = {PROJECTION: "data-highlighted", GALLERY: ""}
CLASS_CHANGED = {**SELECTED, GRAPH: "data-version"}
SQUARE = """(root, count) => {
  const { view } = root, middle = (values) => values.filter((v) => !Number.isNaN(v)).sort()[values.length >> 1];
  const mx = middle(view.x), my = middle(view.y);
  const away = view.x.map((x, i) => Math.max(Math.abs(x - mx), Math.abs(view.y[i] - my))).filter((d) => d >= 0).sort();
  const r = away[Math.min(count, away.length) - 1], { xaxis, yaxis } = view.plot._fullLayout;
  const box = view.plot.getBoundingClientRect();
  return [[-1, -1], [1, -1], [1, 1], [-1, 1]].map(([right, up]) =>
    [box.left + xaxis._offset + xaxis.l2p(mx + right * r), box.top + yaxis._offset + yaxis.l2p(my + up * r)]);
}"""
"""Corners, on the screen, of the square around the map's middle that holds some number of points."""


class Visitor:
    """One browser context on a run, and the bytes that it has sent up and received.

    first_view, first_pictures: when all views, and the pictures in sight, were there (seconds since 1970); pictured:
    after how many milliseconds the pictures were there after what was timed last.
    """

    def __init__(self, browser: Browser, address: str, run: str) -> None:
        self.context = browser.new_context(viewport={"width": VIEWPORT["width"], "height": VIEWPORT["height"]})
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.page.add_init_script(WATCH)
        self.sent = self.received = 0
        self.pictured = 0.0
        self.page.on("websocket", self._count)
        self.page.goto(f"{address}/?v=1&run={run}")
        self.first_view = self.page.wait_for_function(READY, polling="raf").json_value() / 1000
        last = "allAnswered().then((last) => performance.timeOrigin + last)"
        self.first_pictures = self.page.evaluate(last) / 1000
        settled(self.page)

    def _count(self, socket: WebSocket) -> None:
        def sent(frame: str | bytes) -> None:
            self.sent += len(frame)

        def received(frame: str | bytes) -> None:
            self.received += len(frame)

        socket.on("framesent", sent)
        socket.on("framereceived", received)

    def timed(self, wanted: dict[str, str], action: Callable[[], object]) -> float:
        """Do something and return after how many milliseconds the views had changed."""
        self.page.evaluate("([wanted, patience]) => watchFor(wanted, patience)", [wanted, PATIENCE])
        action()
        milliseconds: float = self.page.evaluate("drawn")
        self.pictured = self.page.evaluate("pictured")
        settled(self.page)
        return milliseconds

    def click_in_graph(self, turn: int) -> float:
        """Click a cluster, another one each turn."""
        self._show(GRAPH)
        places = [place for node in nodes(self.page) if self._is_open(place := node_place(self.page, node))]
        return self.timed(SELECTED, lambda: self.page.mouse.click(*places[turn * 7 % len(places)]))

    def click_on_map(self, neuron: int) -> float:
        """Click a neuron's point."""
        self._show(PROJECTION)
        return self.timed(SELECTED, lambda: self.page.mouse.click(*neuron_place(self.page, neuron)))

    def lasso(self) -> tuple[float, float, int]:
        """Draw around points; return milliseconds, bytes sent up, and how many neurons were selected."""
        self._show(PROJECTION)
        self.page.get_by_role("button", name=re.compile("^Lasso")).click()
        corners = self.page.locator(PROJECTION).evaluate(SQUARE, LASSOED)
        before = self.sent
        milliseconds = self.timed(SELECTED, lambda: drag(self.page, [(x, y) for x, y in corners]))
        sent, selected = self.sent - before, self.page.locator(PROJECTION).get_attribute("data-highlighted")
        self.page.get_by_role("button", name=re.compile("^Move")).click()
        self.timed(SELECTED, self.page.get_by_role("button", name="Clear selection").click)
        return milliseconds, sent, int(selected or 0)

    def choose_class(self, name: str) -> float:
        """Choose a class in the filter."""
        box = self.page.get_by_role("combobox", name="Class", exact=True)
        box.click()
        box.fill(name)
        option = self.page.get_by_role("option", name=re.compile(rf"^{re.escape(name)} \(")).first
        return self.timed(CLASS_CHANGED, option.click)

    def _show(self, view: str) -> None:
        self.page.locator(view).evaluate("root => root.scrollIntoView({ block: 'center' })")

    def _is_open(self, place: tuple[float, float]) -> bool:
        """Whether a click there reaches the graph, and not what lies over it or nothing at all."""
        reached: bool = self.page.locator(GRAPH).evaluate(
            "(root, [x, y]) => root.querySelector('.nc-canvas').contains(document.elementFromPoint(x, y))", list(place)
        )
        return reached


def measure(browser: Browser, runs: Path, name: str, classes: Sequence[str], repeats: int) -> dict[str, list[float]]:
    """Return all that was measured on a run: milliseconds, bytes and MB."""
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(repeats):
        with serve(runs) as server:
            cold = Visitor(browser, server.address, name)
            found["first view, cold server (ms)"].append((cold.first_view - server.healthy) * 1000)
            found["first view, cold server, with the pictures in sight (ms)"].append(
                (cold.first_pictures - server.healthy) * 1000
            )
            begin = time.time()
            warm = Visitor(browser, server.address, name)
            found["first view, warm server (ms)"].append((warm.first_view - begin) * 1000)
            cold.context.close()
            warm.context.close()
    with serve(runs) as server:
        visitor = Visitor(browser, server.address, name)
        for turn in range(repeats):
            received, busy = visitor.received, server.busy()
            found["class change (ms)"].append(visitor.choose_class(classes[turn % len(classes)]))
            found["class change, with the pictures in sight (ms)"].append(visitor.pictured)
            found["class change, server's processor time (ms)"].append((server.busy() - busy) * 1000)
            found["class change, sent down (bytes)"].append(visitor.received - received)
            found["click in the graph (ms)"].append(visitor.click_in_graph(turn))
            milliseconds, sent, selected = visitor.lasso()
            found["lasso (ms)"].append(milliseconds)
            found["lasso, sent up (bytes)"].append(sent)
            found["lasso, neurons in it"].append(selected)
        visitor.context.close()
    found |= three_sessions(browser, runs, name, classes)
    return dict(found)


def three_sessions(browser: Browser, runs: Path, name: str, classes: Sequence[str]) -> dict[str, list[float]]:
    """Return the server's memory (MB) when three visitors at once have each used every view."""
    with serve(runs) as server:
        visitors = [Visitor(browser, server.address, name) for _ in range(SESSIONS)]
        for turn, visitor in enumerate(visitors):
            for class_ in classes[turn : turn + 2]:
                visitor.choose_class(class_)
                visitor.click_in_graph(turn)
                visitor.click_on_map(turn)
                visitor.lasso()
        found = {
            "server with three sessions (MB)": [server.memory("VmRSS")],
            "server at its highest (MB)": [server.memory("VmHWM")],
        }
        for visitor in visitors:
            visitor.context.close()
        return found


def changing_classes(folder: Path, count: int) -> list[str]:
    """Return classes with a graph of their own to change between, spread over all of them."""
    lookup = Lookup(Run(folder))
    able = [name for name in lookup.classes if lookup.has_output(name) and len(lookup.important(name))]
    able = able or [name for name in lookup.classes if len(lookup.important(name))]
    return able[1 :: max(1, len(able) // (count + 1))][:count]


def table(results: dict[str, dict[str, list[float]]]) -> str:
    """Return the results as a Markdown table: median (lowest to highest), one column for each run."""
    names = list(dict.fromkeys(name for found in results.values() for name in found))
    lines = ["| | " + " | ".join(results) + " |", "|---|" + "---|" * len(results)]
    lines += [
        f"| {name} | " + " | ".join(spread(found.get(name, [])) for found in results.values()) + " |" for name in names
    ]
    return "\n".join(lines)


def circumstances(chromium: str, repeats: int, load: float) -> str:
    """Return when, where and how it was measured."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("streamlit", "plotly", "pyvis", "pandas", "pyarrow"))
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d} on {os.cpu_count()} cores ({platform.machine()}, no graphics card: "
        f"Chromium {chromium} draws WebGL in software), Python {platform.python_version()}, {packages}; the machine's "
        f"load was {load:.1f} before the first measurement. Server and browser share the cores. "
        f"Median of {repeats}, lowest to highest in brackets."
    )


def main() -> None:
    """Measure, print and write the report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.views", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=10, help="how often each thing is measured (10)")
    parser.add_argument("--only", help="one of the runs: demo, medium, large; the report is left as it is")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        runs = Path(folder)
        sizes = {"demo": None, "medium": MEDIUM, "large": LARGE}
        chosen = {name: size for name, size in sizes.items() if options.only in (None, name)}
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        results = {}
        for name, size in chosen.items():
            run = write_large_run(runs / name, size) if size else ROOT / "data" / name
            lookup = Lookup(Run(run))
            title = f"{name}: {len(lookup.neuron_cluster):,} neurons, {len(lookup.classes):,} classes"
            results[title] = measure(browser, runs, name, changing_classes(run, options.repeats), options.repeats)
        chromium = browser.version
        browser.close()
    print(json.dumps(results, indent=1))
    text = f"{circumstances(chromium, options.repeats, load)}\n\n{table(results)}"
    print(text)
    if options.only is None:
        write_section("Views", f"{text}\n\n{HOW}")


HOW = (
    "`make bench-views` measures this anew. Times of a click, a lasso and a change of class run from the release of "
    "the mouse to the animation frame after all views have changed; a first view runs from the server's first answer "
    "(cold: nothing imported yet, warm: from opening the address in a new browser profile) until map, graph and cards "
    "are drawn. The views ask for the pictures in sight when they are drawn; the times with pictures are when the last "
    "has come. Memory is the server's resident set after three visitors at once have each changed class, clicked in "
    "the graph and on the map, and drawn a lasso, twice. The two larger runs are synthetic (`benchmarks/large_run.py`)."
)

if __name__ == "__main__":
    main()
