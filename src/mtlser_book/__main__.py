"""`python -m mtlser_book reproduce|book|serve|readme|workshop|…`: what the Makefile's targets call.

Options come from MTLSER_* variables, which the Makefile sets; --preset, --build and --artifacts override them.
"""

from __future__ import annotations

import argparse
import http.server
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from mtlser.command import INTERRUPTED, failed
from mtlser_book import Stop

# Variables that say what to train, and nothing about the pages that are rendered after that.
WHAT_TO_RUN = (
    "RELEASE ALLOW_DIFFERENT BACKBONE PROTOCOL POOLING LEARNING_RATE SEEDS ALPHAS FOLDS EPOCHS PRECISION FRESH "
    "EXPERIMENT"
).split()
ROOT = Path(__file__).resolve().parents[2]


def say(line: str) -> None:
    """One line of progress on the terminal, at once."""
    print(line, flush=True)


@contextmanager
def shown_progress(path: Path) -> Iterator[None]:
    """Prints what workers append to `path` while the block runs: a kernel's own output goes to the page."""
    path.write_text("")
    ended = threading.Event()

    def follow() -> None:
        with path.open(encoding="utf-8", errors="replace") as stream:
            while not ended.wait(0.2):
                print(stream.read(), end="", flush=True)
            print(stream.read(), end="", flush=True)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(follow)
        try:
            yield
        finally:
            ended.set()


@contextmanager
def only_one(build: Path) -> Iterator[None]:
    """Holds the build folder. Raises Stop if another call holds it."""
    build.mkdir(parents=True, exist_ok=True)
    try:
        held = FileLock(build / ".lock", timeout=0).acquire()
    except Timeout:
        raise Stop(f"another call is rendering in {build}/; let it end, or end it, and retry") from None
    with held:
        yield


def set_environment(options: argparse.Namespace, train: bool) -> None:
    """Puts the options where the notebooks' kernels and workers read them."""
    build = Path(options.build).resolve()
    os.environ |= {"MTLSER_PRESET": options.preset, "MTLSER_ARTIFACTS": options.artifacts}
    os.environ |= {"MTLSER_TRAIN": str(int(train)), "MTLSER_PROGRESS": str(build / "progress.log")}
    os.environ["MTLSER_WORKSHOP_RESULTS"] = str(build / "workshop")  # what the solutions' checks record
    for name in ("MTLSER_RELEASE", "MTLSER_BACKBONE"):  # `make IEMOCAP=~/x` leaves the tilde to us in some shells
        os.environ[name] = os.path.expanduser(os.environ.get(name, ""))  # empty counts as not given


def render(options: argparse.Namespace, train: bool) -> None:
    """Executes stale pages and builds the site. Raises Stop that lists every page that failed."""
    from mtlser.runs.plan import table4
    from mtlser.runs.settings import Settings
    from mtlser_book.execute import execute_pages, library_digest
    from mtlser_book.pages import book_pages
    from mtlser_book.privacy import licensed_transcripts
    from mtlser_book.stage import build_site

    set_environment(options, train)
    complete_first(options, train)
    build = Path(options.build)
    with only_one(build), shown_progress(build / "progress.log"):
        try:
            settings = Settings.from_environment()
            plan = table4(options.preset, settings)
            if train:
                announce(plan)
            pages = book_pages(ROOT, options.preset, settings)
            library = library_digest(ROOT / "src")
        except (OSError, ValueError) as error:  # a setting, a preset or a lab that is none
            raise Stop(str(error)) from error
        failures = execute_pages(pages, root=ROOT, build=build, library=library, log=say)
        if failures:
            raise Stop("\n\n".join(["these pages failed, and the previous site stays as it was:", *failures]))
        try:
            changed = build_site(ROOT, build, transcripts=licensed_transcripts(settings))
        except (Stop, OSError, ValueError) as error:  # the last two: a release that cannot be read
            raise Stop(f"{error}\n\nThe previous site stays as it was.") from None
    say("The book is rendered." if changed else "Nothing changed: the book is up to date.")
    say(f"Open {build / 'html' / 'index.html'}, or type: make serve")


def complete_first(options: argparse.Namespace, train: bool) -> None:
    """Trains what no training page does: corpora of people, other experiments. The pages then show records, and pocket.

    Raises Stop where runs failed.
    """
    from mtlser.config import ConfigError, get_preset
    from mtlser.runs.open_corpora import check_release

    try:
        check_release(options.preset)
        of_people = get_preset(options.preset).reads != "iemocap"
    except ConfigError as error:
        raise Stop(str(error)) from error
    experiment = os.environ.get("MTLSER_EXPERIMENT") or "table4"
    if not of_people and experiment == "table4":
        return
    command = [sys.executable, "-m", "mtlser", "run", experiment, "--preset", options.preset]
    if train and subprocess.run(command, cwd=ROOT).returncode:
        raise Stop(f"{experiment} of {options.preset} is not complete; the message is above, and what was done is kept")
    for name in WHAT_TO_RUN:
        os.environ.pop(f"MTLSER_{name}", None)
    options.preset = os.environ["MTLSER_PRESET"] = "pocket" if of_people else options.preset


def announce(plan) -> None:
    """Says how many runs are done, and hands the others to an engine if one is named. Raises Stop where that fails."""
    missing = plan.missing()
    say(f"Table 4, preset {plan.preset.name}: {len(plan.runs) - len(missing)} of {len(plan.runs)} runs are done")
    if shared := sum(run.is_shared for run in plan.runs):
        say(f"{shared} of them by records in {plan.settings.results}; make reproduce FRESH=1 trains these here, too")
    if missing and plan.settings.engine != "local":
        if subprocess.run([sys.executable, "-m", "mtlser", "run", "table4"], cwd=ROOT).returncode:
            raise Stop(f"engine {plan.settings.engine} did not complete the runs; its message is above")


def reproduce(options: argparse.Namespace) -> None:
    """Complete the missing runs by executing the pages, then build the site."""
    render(options, train=True)


def book(options: argparse.Namespace) -> None:
    """Build the site from the records there are; train nothing."""
    render(options, train=False)


def serve(options: argparse.Namespace) -> None:
    """Show the site at 127.0.0.1, to this machine only."""
    site = Path(options.build) / "html"
    if not (site / "index.html").exists():
        raise Stop(f"{site}/index.html is missing; `make reproduce` or `make book` renders it")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(site))
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", options.port), handler)
    except (OSError, OverflowError) as error:
        other = f".venv/bin/python -m mtlser_book serve --port {min(options.port, 8000) + 1}"
        raise Stop(f"port {options.port}: {error}; try another:\n\n    {other}") from None
    say(f"The book is at http://127.0.0.1:{server.server_port}/ (end with Ctrl-C)")
    with server, suppress(KeyboardInterrupt):
        server.serve_forever()


def workshop(options: argparse.Namespace) -> None:
    """Open the labs in JupyterLab; further options go to it."""
    from mtlser_book.workshop import open_labs

    if status := open_labs(ROOT, Path(options.artifacts), options.arguments):
        raise Stop(f"JupyterLab ended with status {status}; its message is above")


def wheelhouse(options: argparse.Namespace) -> None:
    """Collect every package in artifacts/wheelhouse, for an installation without a network."""
    from mtlser_book.workshop import make_wheelhouse

    folder = Path(options.artifacts) / "wheelhouse"
    say(f"Collecting the packages in {folder} (some minutes)")
    sizes = make_wheelhouse(ROOT, folder, os.environ.get("MTLSER_TORCH", ""))
    say(f"{folder}: {len(sizes)} packages, {sum(sizes) / 1e6:.0f} MB, for this kind of system and Python")
    say("Copy it and this project to a USB stick. On each laptop, without a network:\n")
    say("    make workshop WHEELHOUSE=<stick>/wheelhouse")


def students(options: argparse.Namespace) -> None:
    """Write the students' copies of the labs from their sources."""
    from mtlser_book.students import write_students

    say("\n".join(write_students(ROOT)) or "The students' copies are up to date.")


def slides(options: argparse.Namespace) -> None:
    """Write the workshop's slides to build/slides.html, for a look without rendering the book."""
    from mtlser_book.deck import write_deck

    write_deck(ROOT, Path(options.build) / "slides.html", Path(options.build) / "notebooks")
    say(f"Open {Path(options.build) / 'slides.html'}; it needs no file beside it")


def grades(options: argparse.Namespace) -> None:
    """Print the checks' summary files in a folder as CSV."""
    import pandas as pd

    from mtlser_book.checks import grades

    rows = grades(Path(os.path.expanduser(options.folder)))
    if not rows:
        raise Stop(f"{options.folder}: no summary files (results/lab-<number>.json) in it")
    sys.stdout.reconfigure(encoding="utf-8")  # a redirected one may be cp1252, which has few names
    pd.DataFrame(rows).to_csv(sys.stdout, index=False, lineterminator="\n")


def readme(options: argparse.Namespace) -> None:
    """Rewrite the results block of README.md from book/results."""
    from mtlser_book.readme import update_readme

    say("README.md: results block " + ("rewritten" if update_readme(ROOT) else "is up to date"))


def parser() -> argparse.ArgumentParser:
    """The command line: a function above is the command of its name."""
    top = argparse.ArgumentParser(prog="python -m mtlser_book", description="Executes and renders the book.")
    commands = top.add_subparsers(dest="command", required=True)
    for action in (reproduce, book, serve, workshop, wheelhouse, students, slides, grades, readme):
        command = commands.add_parser(action.__name__, help=action.__doc__, description=action.__doc__)
        command.set_defaults(action=action)
        for option, default in (("preset", "pocket"), ("build", "build"), ("artifacts", "artifacts")):
            command.add_argument(f"--{option}", default=os.environ.get(f"MTLSER_{option.upper()}") or default)
    commands.choices["serve"].add_argument("--port", type=int, default=8000)
    commands.choices["grades"].add_argument("folder")
    return top


def exit_on_sigterm() -> None:
    """A request to end is heeded as Ctrl-C is: kernels end, and what is half-made is removed."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def main() -> int:
    """Exit status 0, or 1 after a message on standard error."""
    exit_on_sigterm()
    top = parser()
    options, options.arguments = top.parse_known_args()
    if options.arguments and options.command != "workshop":
        top.error(f"unrecognized arguments: {' '.join(options.arguments)}")
    try:
        options.build, options.artifacts = (os.path.expanduser(path) for path in (options.build, options.artifacts))
        os.chdir(ROOT)  # relative folders are the project's, wherever the command was typed
        options.action(options)
        sys.stdout.flush()
    except Stop as stop:
        print(f"\n{stop}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\n{INTERRUPTED}", file=sys.stderr)
        return 130
    except Exception as error:
        return failed(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
