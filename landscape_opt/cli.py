"""The command ``landscape-opt``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
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
        print(_COMMANDS[given.command](given), end="")
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
    from .benchmark.registry import problem_named

    problem = problem_named(given.problem)
    if given.quick:
        return run_hidden(problem, 3.0, (0, 1, 5), progress=not given.silent, num_test=32).text
    return run_hidden(problem, given.seconds, progress=not given.silent).text


def _crowd(given: argparse.Namespace) -> str:
    from .benchmark.crowd import run_crowd

    return (run_crowd(64, 16, 32, 400) if given.quick else run_crowd()).text


def _costs(given: argparse.Namespace) -> str:
    from .benchmark.campaign import silent
    from .benchmark.costs import QUICK, CostSettings, run_costs

    settings = QUICK if given.quick else CostSettings()
    show = silent if given.silent else _show
    try:
        report = run_costs(given.out, given.docs, settings, given.again, show, not given.silent)
    except ValueError as error:
        raise SystemExit(str(error)) from error
    return report.text if report.path is None else f"{report.text}\nwritten: {report.path}\n"


def _bench(given: argparse.Namespace) -> str:
    from .benchmark.campaign import silent
    from .benchmark.command import bench
    from .benchmark.contestants import written_out

    if given.report:
        from .benchmark.headline import write_headline
        from .benchmark.page import write_page

        written = (write_page(given.out, given.docs), *write_headline(given.out, given.docs))
        return "".join(f"written: {path}\n" for path in written)
    if not given.names:
        from .benchmark.registry import available

        raise SystemExit(f"name a problem: {', '.join(available())}")
    try:
        report = bench(
            given.names,
            given.seconds,
            given.seeds,
            budgets=given.budgets,
            only=None if given.only is None else written_out(given.only),
            once=written_out(given.once),
            num_validation=given.validation,
            num_test=given.test,
            out=given.out,
            max_minutes=given.max_minutes,
            quick=given.quick,
            again=given.again,
            show=silent if given.silent else _show,
        )
    except ValueError as error:
        raise SystemExit(str(error)) from error
    return report.text


def _diagnose(given: argparse.Namespace) -> str:
    from .diagnostics.command import run_diagnosis

    told = {"num_rounds": given.rounds, "seed": given.seed, "quick": given.quick, "progress": not given.silent}
    try:
        return run_diagnosis(given.name, given.seconds, given.out, **told).text
    except ValueError as error:
        raise SystemExit(str(error)) from error


def _engine(given: argparse.Namespace) -> str:
    from .benchmark.campaign import silent
    from .benchmark.engine import run_engine

    try:
        return run_engine(given.tables, given.quick, silent if given.silent else _show)
    except ValueError as error:
        raise SystemExit(str(error)) from error


def _card(given: argparse.Namespace) -> str:
    from .card import LandscapeCard
    from .card_text import as_markdown

    try:
        return as_markdown(LandscapeCard.read(given.file))
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from error


def _show(line: str) -> None:
    print(line, flush=True)


_COMMANDS = {
    "demo": _demo,
    "linear": _linear,
    "zoo": _zoo,
    "hidden": _hidden,
    "crowd": _crowd,
    "costs": _costs,
    "diagnose": _diagnose,
    "card": _card,
    "engine": _engine,
    "bench": _bench,
}


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
    hidden = commands.add_parser("hidden", help="targets of which a part was not observed, with and without the memory")
    hidden.add_argument("--problem", default="digits", help="digits, skeleton, camera, … (default: digits)")
    hidden.add_argument("--seconds", type=_positive, default=80.0, help="of each of two fits (default: 80)")
    crowd = commands.add_parser("crowd", help="many targets of unlike difficulty, with finished rows replaced and without")
    costs = commands.add_parser("costs", help="what a fit costs and when it pays, and whether to compile")
    costs.add_argument("--out", type=Path, default=Path("benchmarks"), help="folder of the results of bench, and its own")
    costs.add_argument("--docs", type=Path, default=None, help="where to write costs.md and its curves (default: nowhere)")
    costs.add_argument("--again", action="store_true", help="measure what is there again")
    diagnose = commands.add_parser("diagnose", help="fit on a problem, and show in numbers and pictures what came of it")
    diagnose.add_argument("name", metavar="NAME", help="of a problem, as arm, digits, linear")
    length = diagnose.add_mutually_exclusive_group()
    length.add_argument("--seconds", type=_positive, default=60.0, help="of fitting (default: 60)")
    length.add_argument("--rounds", type=_count, default=None, help="of fitting, instead: the same bits every time")
    diagnose.add_argument("--seed", type=int, default=0, help="of fitting (default: 0)")
    diagnose.add_argument("--out", type=Path, default=Path("landscape-diagnosis.png"), help="the picture, .png or .svg")
    engine = commands.add_parser("engine", help="what the fit engine promises, measured")
    engine.add_argument(
        "tables", nargs="*", metavar="TABLE", help="kills, ranks, memory, profile, compiling, gpu (default: all)"
    )
    card = commands.add_parser("card", help="what a saved landscape was fitted for, how, and how well it does")
    card.add_argument("file", type=Path, help="the weights file, or its card")
    bench = commands.add_parser(
        "bench", help="every method on the problems named, at equal evaluations; or the report on all"
    )
    _add_bench(bench)
    for command in (demo, linear, zoo, hidden, crowd, costs, diagnose, card, engine, bench):
        command.add_argument("--quick", action="store_true", help="a few seconds, to see that all runs")
        command.add_argument("--threads", type=_count, default=2, help="of torch (default: 2)")
        command.add_argument("--silent", action="store_true", help="without progress bars")
    return parser


def _add_bench(bench: argparse.ArgumentParser) -> None:
    bench.add_argument("names", nargs="*", metavar="NAME", help="of a problem, as linear, digits, wave")
    bench.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of fitting (default: 0 1 2)")
    bench.add_argument("--seconds", type=_positive, default=150.0, help="of fitting, for everyone who trains (default: 150)")
    bench.add_argument("--budgets", type=int, nargs="+", default=None, help="evaluations, ascending from 0")
    bench.add_argument(
        "--only",
        nargs="+",
        metavar="METHOD",
        default=None,
        help="groups of methods; 'ablation' for the landscape with each part left out (default: the protocol's)",
    )
    bench.add_argument(
        "--out", type=Path, default=Path("benchmarks"), help="folder of results; what is there is not run again"
    )
    bench.add_argument("--once", nargs="+", metavar="METHOD", default=[], help="groups trained with the first seed alone")
    bench.add_argument("--validation", type=_count, default=None, help="targets that methods are tuned on (default: 128)")
    bench.add_argument("--test", type=_count, default=None, help="targets of every reported set (default: 512)")
    bench.add_argument("--again", action="store_true", help="run what is there again")
    bench.add_argument("--max-minutes", type=_positive, default=None, help="begin nothing that would end later")
    bench.add_argument("--report", action="store_true", help="write docs/benchmarks.md, its pictures and the README's table")
    bench.add_argument("--docs", type=Path, default=Path("docs"), help="where --report writes (default: docs)")


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
