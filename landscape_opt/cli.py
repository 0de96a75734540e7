"""The command ``landscape-opt``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Args:
        arguments: of the command line; None takes those of the process.

    Returns:
        The exit status.
    """
    given = _parser().parse_args(arguments)
    before = torch.get_num_threads()
    torch.set_num_threads(given.threads)
    try:
        print(
            {"demo": _demo, "linear": _linear, "zoo": _zoo, "hidden": _hidden, "crowd": _crowd}[given.command](given), end=""
        )
    finally:
        torch.set_num_threads(before)
    return 0


def _demo(given: argparse.Namespace) -> str:
    from .benchmark.demo import run_demo  # here, so that --help is quick

    return run_demo(given.seconds, given.published_seconds, given.out, given.quick, not given.silent).text


def _linear(given: argparse.Namespace) -> str:
    from .benchmark.linear import run_linear
    from .problems import linear

    if given.quick:
        return run_linear(linear(8, 100.0), num_rounds=20, max_steps=500, progress=not given.silent).text
    return run_linear(linear(32, 1e3), given.seconds, progress=not given.silent).text


def _zoo(given: argparse.Namespace) -> str:
    from .benchmark.zoo import run_zoo

    if given.quick:
        return run_zoo(num_starts=2, max_evaluations=30, num_timed=4, progress=not given.silent).text
    return run_zoo(progress=not given.silent).text


def _hidden(given: argparse.Namespace) -> str:
    from .benchmark.hidden import run_hidden
    from .problems import digits

    problem = digits()
    if given.quick:
        return run_hidden(replace(problem, test=problem.test[:32]), 3.0, (0, 1, 5), progress=not given.silent).text
    return run_hidden(problem, given.seconds, progress=not given.silent).text


def _crowd(given: argparse.Namespace) -> str:
    from .benchmark.crowd import run_crowd

    return (run_crowd(64, 16, 32, 400) if given.quick else run_crowd()).text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="landscape-opt", description="Invert differentiable models in a learned landscape."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="fit on handwritten digits, invert held-out ones, compare with plain descent")
    demo.add_argument("--seconds", type=_positive, default=70.0, help="of fitting the landscape (default: 70)")
    demo.add_argument("--published-seconds", type=_positive, default=30.0, help="of fitting as published (default: 30)")
    demo.add_argument("--out", type=Path, default=Path("landscape-demo.png"), help="the picture to write")
    linear = commands.add_parser("linear", help="the linear problem, where the best landscape is known")
    linear.add_argument("--seconds", type=_positive, default=60.0, help="of each of two fits (default: 60)")
    zoo = commands.add_parser("zoo", help="classic problems: the batched solvers beside SciPy, which takes one at a time")
    hidden = commands.add_parser("hidden", help="digits of which half was not observed, with and without the memory")
    hidden.add_argument("--seconds", type=_positive, default=80.0, help="of each of two fits (default: 80)")
    crowd = commands.add_parser("crowd", help="many targets of unlike difficulty, with finished rows replaced and without")
    for command in (demo, linear, zoo, hidden, crowd):
        command.add_argument("--quick", action="store_true", help="a few seconds, to see that all runs")
        command.add_argument("--threads", type=_count, default=2, help="of torch (default: 2)")
        command.add_argument("--silent", action="store_true", help="without progress bars")
    return parser


def _positive(text: str) -> float:
    number = float(text)
    if not 0.0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text}")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, got {text}")
    return number


if __name__ == "__main__":
    raise SystemExit(main())
