"""The page on costs: what was measured, and for whom a fit pays."""

from __future__ import annotations

from collections.abc import Sequence

from .summary import number

WRITTEN_BY = "landscape-opt costs --docs docs"


def page(parts: Sequence[str], least: float, where: str, picture: str | None) -> str:
    """The whole page.

    Args:
        parts: of paying, by dimension, by targets, of evaluations.
        least: inversions after which any of the fits has paid for itself.
        where: the machine, what else it did, and how much was measured.
        picture: path of the curves; None without.
    """
    paying, by_dim, by_targets, evaluations = parts
    curves = f"\n\n![what a fit costs and what it is worth]({picture})" if picture else ""
    return f"""{_HEAD.format(where=where, least=number(least))}

{paying}

## What a fit costs

{_FITS}{curves}

### By the dimension of x

{by_dim}

### By the number of targets

{by_targets}

## What an evaluation costs: batches, and `torch.compile`

{_EVALUATIONS}

{evaluations}

{_TAIL}
"""


_HEAD = f"""# What a fit costs, and for whom it pays

This page is written by `{WRITTEN_BY}`; without `--docs` the command prints it.
{{where}}
Times that it takes are those of the processor, all threads together; those of the benchmark are a clock's.

## For whom a fit pays

A fit is paid for once, and saves a little in every inversion. So it pays where the same forward model is inverted for
many targets, and the sooner the dearer an evaluation of F is.

* **F is dear**: a renderer, a simulation, a generator, a millisecond and more for a row. Only evaluations count. Read
  the column *paid after: evaluations*.
* **F is cheap**: microseconds for a row. θ, the bookkeeping and the look-ups cost more than F, so saving evaluations
  need not save time. Read the column *paid after: clock*.
* **There are few targets**, and it is done once. The least count of inversions on this page, those of *at once* aside,
  is {{least}}. For fewer, `invert(..., allow_unfitted=True)` is L-BFGS from the plain start, row by row, without a fit.

The counts are about the median. A target that plain descent leaves in a poor minimum for good does not show in them.
Nor does a deadline for every single answer: a fit meets that sooner, whatever it has cost before.

## When the fits of the benchmark have paid for themselves

Read from the records of the [benchmark](benchmarks.md), targets as those of the fit. Everyone inverts to a level: the
rival's median at 100 evaluations, or if that is higher a share of the loss at the plain start (a thousandth; 1e-5 for
the encoder). *Its evaluations* and *ours* are those to the level. A fit is *paid after* so many inversions: counted in
evaluations of F, those of the fit included, and by the clock, against the fastest rival of its kind. What an encoder
took to train is taken off the price of the fit, for whoever has no landscape has to train that; *at once* is where it
took more. All fits of the benchmark had the same seconds. A shorter one costs less and is worth less: below are
some."""

_FITS = """Fits with the library's defaults, of the same number of updates, that take turns, a round of each. *Update*
is one update of θ with its evaluation of F and all around it, *F in it* that evaluation alone. Losses are held-out
medians after so many evaluations, over that at the plain start; *paid after* is as above, in evaluations of F, against
L-BFGS from the plain start."""

_EVALUATIONS = """Microseconds of one evaluation of one row: of F alone, forward and backward, and of `invert` for ten
evaluations, with θ, bookkeeping and look-ups. Each is the fastest of several turns. F is compiled by `torch.compile`
with its defaults."""

_TAIL = """A compiled F can be given to `LearnedLandscape` like any other, and to a landscape that was fitted with F as
it was written:

```python
landscape = LearnedLandscape(torch.compile(forward_model), x_init, inverter.landscape.mapping)
fast = LandscapeInverter(landscape, loss_fn, memory=inverter.memory)
```

`LevenbergMarquardt` and `differentiable=` go through the graph of F more than once, which compiled code does not allow:
there F runs as it was written, by itself."""
