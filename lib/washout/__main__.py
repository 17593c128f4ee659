"""The command line: ``python -m washout results``, ``status``, ``bundle``, ``merge`` and others."""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from washout import chapters
from washout.filling import results, seconds
from washout.paths import results_folder, weights_folder
from washout.status import status_frame, waiting
from washout.study import PROFILES, Study


def status(arguments: argparse.Namespace) -> int:
    """What is stored and what is missing, per chapter, profile and table; or row by row."""
    if arguments.missing:
        lines = waiting(arguments.missing)
        print(*lines, f"{len(lines)} rows missing at profile {arguments.missing}", sep="\n")
        return 0
    gc.disable()  # rows are kept to the end, and looking through all of them takes long
    table = status_frame()
    print(table.to_string(index=False) if len(table) else "nothing stored")
    return 0


def attacks(arguments: argparse.Namespace) -> int:
    """The registered attacks with their defaults."""
    from washout.attacks import describe

    with pd.option_context("display.max_colwidth", None, "display.width", 200):
        print(describe().to_string(index=False))
    return 0


def fetch(arguments: argparse.Namespace) -> int:
    """Download a dataset or a classifier to the data folder; needs a network."""
    from washout.fetch import fetch

    return fetch(arguments.name, arguments.folder)


def cards(arguments: argparse.Namespace) -> int:
    """Write the cards of the weights that ship."""
    from washout import cards

    folder = weights_folder()
    print(f"{cards.write(folder, results_folder())} cards in {folder / cards.NAME}")
    return 0


def bundle(arguments: argparse.Namespace) -> int:
    """Pack the project and the data of missing rows, for a machine without a network."""
    from washout import moving

    names = [arguments.chapter] if arguments.chapter else list(chapters.NAMES)
    counts = moving.bundle(
        Path(arguments.folder), arguments.profile, names, arguments.part,
        wheels=arguments.wheels, python=arguments.python, large=arguments.large,
    )  # fmt: skip
    for name, count in counts.items():
        print(f"{name}: {count} rows missing at profile {arguments.profile}")
    told = json.loads((Path(arguments.folder) / moving.MANIFEST).read_text())
    print(f"parts in {arguments.folder}; there:", told["unpack"], *told["then"], sep="\n  ")
    if not arguments.large and any((weights_folder() / "large").glob("*.safetensors")):
        print("of networks above 8 MiB only the records go along; their weights too with --large")
    return 0


def pack(arguments: argparse.Namespace) -> int:
    """Pack stored rows and networks, to bring them back."""
    from washout import moving

    study = Study("", compute=False, local=False)
    since = time.time() - seconds(arguments.last, "last") if arguments.last else 0.0
    with moving.sent(arguments.folder) as folder:
        done = moving.pack(folder, study, arguments.part, since, arguments.large)
    print(f"{done.rows} rows in {arguments.folder}")
    if done.old:
        print(f"{done.old} rows stay, which were finished more than {arguments.last} ago (--last)")
    for key in done.absent:
        print(f"network not here: {key}; where it is not known, rows made with it are refused")
    if done.left:
        print(f"{done.left} rows stay, whose pictures are not here: they came from elsewhere")
    return 0


def merge(arguments: argparse.Namespace) -> int:
    """Take rows and weights that were made elsewhere, as far as they belong here."""
    from washout import moving

    study = Study("", exact=True, compute=False, local=False, progress=False)
    with moving.fetched(arguments.folder) as folder:
        done = moving.merge(folder, study)
    print(f"{done.rows} rows and {done.weights} weights taken, {done.known} rows known before")
    for reason in done.refused:
        print(f"refused: {reason}", file=sys.stderr)
    return 1 if done.refused else 0


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m washout", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    run = commands.add_parser("results", help=results.__doc__)
    run.add_argument("--chapter", help="3 or chapter3; all chapters otherwise")
    run.add_argument("--profile", default="laptop", help=f"one of {', '.join(PROFILES)}")
    run.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    run.add_argument("--limit", help="begin no row after this long: 90s, 9m, 1h")
    run.add_argument("--table", help="this table only")
    run.add_argument("--attack", default="all", help="this attack only")
    run.add_argument("--defense", help="this defense only, alone or composed (chapter 2)")
    run.add_argument("--dataset", default="auto", help="the paper's otherwise")
    run.add_argument("--seed", type=int, help="this seed; the profile's otherwise")
    run.add_argument("--recompute", action="store_true", help="rows that are stored too")
    run.add_argument("--retrain", action="store_true", help="train again and recompute")
    run.add_argument(
        "--since", metavar="TIME",
        help="with these two: what was made after this time stays, so that a run goes on where one "
        "before it ended, which has printed the time; its own begin otherwise",
    )  # fmt: skip
    run.add_argument("--workers", type=int, default=1, help="processes that share the cores")
    run.add_argument(
        "--scheduler", default=os.environ.get("SCHEDULER"),
        help="a Dask scheduler's address, whose workers compute; $SCHEDULER otherwise",
    )  # fmt: skip
    run.add_argument("--worker", type=float, help=argparse.SUPPRESS)  # when the run began
    run.add_argument("--local", action="store_true", help="store under results/local")
    run.set_defaults(run=results)
    now = commands.add_parser("status", help=status.__doc__)
    now.add_argument("--missing", metavar="PROFILE", help="each row that is missing or stale there")
    now.set_defaults(run=status)
    commands.add_parser("attacks", help=attacks.__doc__).set_defaults(run=attacks)
    commands.add_parser("cards", help=cards.__doc__).set_defaults(run=cards)
    there = commands.add_parser("bundle", help=bundle.__doc__)
    there.add_argument("folder", help="for the parts; empty")
    there.add_argument("--profile", default="paper", help=f"one of {', '.join(PROFILES)}")
    there.add_argument("--chapter", help="3 or chapter3; all chapters otherwise")
    there.add_argument("--part", type=float, default=24.0, help="largest part in MiB")
    there.add_argument("--wheels", action="store_true", help="requirements too, but for PyTorch")
    there.add_argument("--python", help="that machine's, for the wheels: 3.12")
    there.add_argument("--large", action="store_true", help="weights above 8 MiB too")
    there.set_defaults(run=bundle)
    back = commands.add_parser("pack", help=pack.__doc__)
    back.add_argument("folder", help="for the parts, empty; or an address: s3://bucket/rows")
    back.add_argument("--part", type=float, default=16.0, help="largest part in MiB")
    back.add_argument("--last", help="what was finished this long ago at most: 30m, 2h")
    back.add_argument("--large", action="store_true", help="weights above 8 MiB too")
    back.set_defaults(run=pack)
    home = commands.add_parser("merge", help=merge.__doc__)
    home.add_argument(
        "folder", help="parts, or a folder with results/ and weights/; or its address"
    )
    home.set_defaults(run=merge)
    get = commands.add_parser("fetch", help=fetch.__doc__)
    get.add_argument("name", help="nips2017, inception_v3, mnist, cifar10")
    get.add_argument("--folder", help="the data folder; WASHOUT_DATA or data/ otherwise")
    get.set_defaults(run=fetch)
    return top


def main(words: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(words)
    arguments.words = list(sys.argv[1:] if words is None else words)
    try:
        code = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever reads has enough, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("washout: interrupted; what was stored stays", file=sys.stderr)
        return 130
    except (ValueError, OSError, subprocess.CalledProcessError, tarfile.TarError) as error:
        print(f"washout: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
