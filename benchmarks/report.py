"""The report of large studies: seconds to write it, its size, and seconds until a browser shows it.

    python benchmarks/report.py                       # 2,001 and 20,001 trials in one cell each of three methods
    python benchmarks/report.py --trials 501 --repeats 5
    python benchmarks/report.py --pictures DIR        # also screenshots at three widths, of these and of a 2 x 2 study

Records are made by hand (`tests/study/handmade.py`), so that no study has to run. Writing is timed in a process of its
own: as a fresh `neglora report` but for the tables. Opening is timed in headless Chromium, from the start of navigation
until the three trade-offs are drawn and the page's load event has ended; without Chromium that column is empty. Prints
a table and writes `benchmarks/report.json`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
METHODS = 3
#: What the issue asks of a page of 2,000 trials.
MEGABYTES, SECONDS = 8.0, 3.0
WIDTHS = (400, 1280, 2560)
DRAWN = "document.querySelectorAll('[data-at-load] svg.main-svg').length >= 3"

_WRITE = """
import sys, time
from pathlib import Path
started = time.perf_counter()
from study.report import write_report
imported = time.perf_counter()
write_report([Path(sys.argv[1])], Path(sys.argv[2]))
print(imported - started, time.perf_counter() - imported)
"""


def make_study(folder: Path, trials: int) -> Path:
    """A study of three methods with so many searched trials together, and Retrain."""
    sys.path.insert(0, str(ROOT))
    from tests.study import handmade

    return handmade.write_study(folder, handmade.searched(trials // METHODS))


def make_grid(folder: Path) -> Path:
    """2 datasets x 2 models x 3 methods, each configuration on 3 seeds."""
    sys.path.insert(0, str(ROOT))
    from tests.study import handmade

    return handmade.write_study(folder, handmade.grid(), **handmade.GRID)


def write_seconds(study: Path, out: Path) -> tuple[float, float]:
    """Seconds to import and to write, of a fresh process."""
    command = [sys.executable, "-c", _WRITE, str(study), str(out)]
    told = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    return float(told[0]), float(told[1])


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless browser, or None without one."""
    found = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        found = None
    if found is None:
        yield None
        return
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield running
        running.close()


def open_seconds(browser: Any, page_file: Path) -> float:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    started = time.perf_counter()
    page.goto(page_file.as_uri())
    page.wait_for_function(DRAWN)
    taken = time.perf_counter() - started
    page.close()
    return taken


def take_pictures(browser: Any, page_file: Path, folder: Path) -> None:
    """The whole page at three widths, light and dark, with every figure drawn."""
    for width in WIDTHS:
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page.goto(page_file.as_uri())
            height, top = page.evaluate("document.documentElement.scrollHeight"), 0
            while top < height:
                page.evaluate(f"window.scrollTo(0, {top})")
                page.wait_for_timeout(60)
                top += 800
            page.screenshot(path=folder / f"{page_file.stem}-{width}-{scheme}.png", full_page=True)
            page.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[2001, 20001], metavar="N")
    parser.add_argument("--repeats", type=int, default=3, metavar="N")
    parser.add_argument("--pictures", type=Path, metavar="DIR")
    arguments = parser.parse_args()
    found = []
    print(f"{'trials':>7} {'import s':>9} {'write s':>9} {'MB':>6} {'open s':>7}")
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        folder = Path(name)
        for trials in arguments.trials:
            study, out = make_study(folder / str(trials), trials), folder / f"{trials}.html"
            times = [write_seconds(study, out) for _ in range(arguments.repeats)]
            opened = None if browser is None else [open_seconds(browser, out) for _ in range(arguments.repeats)]
            one = {
                "trials": trials,
                "import_seconds": median(first for first, _ in times),
                "write_seconds": median(second for _, second in times),
                "megabytes": out.stat().st_size / 1e6,
                "open_seconds": None if opened is None else median(opened),
            }
            found.append(one)
            shown = "-" if opened is None else f"{one['open_seconds']:.2f}"
            print(
                f"{trials:>7,} {one['import_seconds']:>9.2f} {one['write_seconds']:>9.2f} {one['megabytes']:>6.2f} "
                f"{shown:>7}",
                flush=True,
            )
            if arguments.pictures and browser is not None:
                arguments.pictures.mkdir(parents=True, exist_ok=True)
                take_pictures(browser, out, arguments.pictures)
        if arguments.pictures and browser is not None:
            write_seconds(make_grid(folder / "grid"), folder / "grid.html")
            take_pictures(browser, folder / "grid.html", arguments.pictures)
    Path(__file__).with_suffix(".json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
