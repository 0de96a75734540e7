"""Counts what the docs say of every public name: `python docs/coverage.py` exits with 1 where something is missing.

A public name is one in ``__all__`` of a package below, or the public part of a module below. Asked of every one of them:

* **entry**: an autodoc directive in ``docs/api.rst`` or ``docs/applications/api.rst``, so that it has a place in the site;
* **arguments**: its docstring names every parameter under ``Args:`` (or ``Attributes:`` of a dataclass), and one that is a
  Tensor has its shape there;
* **raises**: ``Raises:``, where its constructor or its body raises;
* **example**: a doctest that no ``+SKIP`` switches off, which pytest runs with its other tests. What needs a file or a
  package that is not part of this one (a licensed body model, ``lpips``) may show it as a literal block, ``::``, instead.

Exempt from the example, by rule and not by name: interfaces (abstract classes and protocols), exceptions, enumerations,
aliases and constants, and records: dataclasses and named tuples documented by ``Attributes:``, which are read rather than
called. What a class inherits is asked of the class that has it.
"""

from __future__ import annotations

import ast
import dataclasses
import enum
import importlib
import inspect
import re
import sys
import textwrap
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
PAGES = ("api.rst", "applications/api.rst")
PACKAGES = (
    "landscape_opt",
    "landscape_opt.solvers",
    "landscape_opt.mappings",
    "landscape_opt.replay",
    "landscape_opt.fitting",
    "landscape_opt.hypotheses",
    "landscape_opt.theta_objective",
    "landscape_opt.diagnostics",
    "landscape_opt.problems",
    "landscape_opt.applications.gan",
    "landscape_opt.applications.pose",
    "landscape_opt.applications.defence",
)
ASKED = ("entry", "arguments", "raises", "example")
DIRECTIVE = re.compile(r"^\.\. (currentmodule|auto\w+):: ([\w.]+)", re.MULTILINE)


@dataclass(frozen=True)
class Name:
    """A public name and what it lacks.

    Attributes:
        package: where it is imported from.
        name: as it is imported.
        kind: class, function, record, interface, exception, enumeration or value.
        gaps: what is missing, by what was asked: ``{"raises": "ValueError"}``.
    """

    package: str
    name: str
    kind: str
    gaps: dict[str, str]

    @property
    def path(self) -> str:
        """Package and name."""
        return f"{self.package}.{self.name}"


def counted() -> list[Name]:
    """Every public name once, under the first package that has it."""
    entries, found, seen = set(_entries()), [], set()
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in _public(module):
            thing = getattr(module, name)
            if id(thing) not in seen:
                seen.add(id(thing))
                found.append(Name(package, name, kind := _kind(thing), _gaps(thing, kind, id(thing) in entries)))
    return found


def _public(module: types.ModuleType) -> list[str]:
    """``__all__``, or the classes and functions that a module defines without an underscore."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    own = (name for name, thing in vars(module).items() if getattr(thing, "__module__", None) == module.__name__)
    return [name for name in own if not name.startswith("_")]


def _entries() -> Iterator[int]:
    """The ids of what the pages of the API list; a module's entry lists all that it defines and documents."""
    for page in PAGES:
        current = ""
        for directive, path in DIRECTIVE.findall((DOCS / page).read_text(encoding="utf-8")):
            if directive == "currentmodule":
                current = path
            elif directive == "automodule":
                module = importlib.import_module(path)
                yield from (id(getattr(module, name)) for name in _public(module))
                current = path
            else:
                yield id(_resolved(path if "." in path else f"{current}.{path}"))


def _resolved(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _kind(thing: Any) -> str:
    if not isinstance(thing, type):
        return "function" if inspect.isfunction(thing) else "value"
    if issubclass(thing, BaseException):
        return "exception"
    if issubclass(thing, enum.Enum):
        return "enumeration"
    if getattr(thing, "_is_protocol", False) or inspect.isabstract(thing) or any(map(_is_left_open, vars(thing).values())):
        return "interface"
    if "Attributes:" in (thing.__doc__ or "") and (dataclasses.is_dataclass(thing) or hasattr(thing, "_fields")):
        return "record"
    return "class"


def _is_left_open(part: Any) -> bool:
    """Whether it is an abstract method, which a class may have without being an ABC."""
    return bool(getattr(part, "__isabstractmethod__", False))


def _has_example(text: str) -> bool:
    return (">>>" in text and "+SKIP" not in text) or "Example:\n        ::\n" in text


def _gaps(thing: Any, kind: str, has_entry: bool) -> dict[str, str]:
    gaps = {} if has_entry else {"entry": "no autodoc directive"}
    text = "" if kind == "value" else thing.__doc__ or ""
    if kind == "value":
        return gaps
    if not text:
        return {**gaps, "arguments": "no docstring"}
    if kind in ("class", "function", "record") and (missing := _undescribed(thing, text)):
        gaps["arguments"] = missing
    if kind in ("class", "function", "record") and "Raises:" not in text and (raised := _raised(thing)):
        gaps["raises"] = ", ".join(raised)
    if kind in ("class", "function") and not _has_example(text):
        gaps["example"] = "no doctest"
    return gaps


def _undescribed(thing: Any, text: str) -> str:
    """Parameters without a line of their own, and Tensors without a shape."""
    bases = thing.__mro__[1:-1] if isinstance(thing, type) else ()  # what a dataclass inherits is described there
    described = {name: line for base in bases for name, line in _described(base.__doc__ or "").items()} | _described(text)
    parameters = {name: one for name, one in _parameters(thing).items() if name not in ("self", "cls")}
    missing = [name for name in parameters if name not in described]
    tensors = [name for name, one in parameters.items() if one.annotation in ("Tensor", "torch.Tensor")]
    shapeless = [f"shape of {name}" for name in tensors if not re.search(r"\(|scalar", described.get(name, "("))]
    return ", ".join(missing + shapeless)


def _parameters(thing: Any) -> dict[str, inspect.Parameter]:
    try:
        parameters = inspect.signature(thing).parameters
    except ValueError:
        return {}
    return {name: one for name, one in parameters.items() if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)}


def _described(text: str) -> dict[str, str]:
    """The lines of ``Args:`` and ``Attributes:``, by name."""
    described: dict[str, str] = {}
    lines, inside, name = inspect.cleandoc(text).splitlines(), False, ""
    for line in lines:
        if not line.startswith(" ") and line.strip():
            inside = line.strip() in ("Args:", "Attributes:")
        elif inside and (entry := re.match(r"    (\w+)(?: \(.*?\))?: (.*)", line)):
            name = entry[1]
            described[name] = entry[2]
        elif inside and name:
            described[name] += " " + line.strip()
    return described


def _raised(thing: Any) -> list[str]:
    """The exceptions that its body, or its own ``__init__`` and ``__post_init__``, raise by name."""
    makers = [thing] if inspect.isfunction(thing) else [vars(thing).get("__init__"), vars(thing).get("__post_init__")]
    names: set[str] = set()
    for maker in makers:
        if not inspect.isfunction(maker) or maker.__qualname__.startswith("__create_fn__"):
            continue
        try:
            source = textwrap.dedent(inspect.getsource(maker))
        except (OSError, TypeError):  # a dataclass writes its own __init__
            continue
        raises = [node.exc for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Raise) and node.exc]
        names |= {ast.unparse(one.func if isinstance(one, ast.Call) else one) for one in raises}
    return sorted(names)


def table(names: list[Name]) -> str:
    """What was asked of whom, and how many have it; then the gaps."""
    lines = [f"{'package':<36} {'names':>5}" + "".join(f" {asked:>10}" for asked in ASKED)]
    for package in [*PACKAGES, "all"]:
        ours = [one for one in names if package in (one.package, "all")]
        have = (sum(asked not in one.gaps for one in ours) for asked in ASKED)
        lines.append(f"{package:<36} {len(ours):>5}" + "".join(f" {count:>10}" for count in have))
    gaps = [f"{one.path} ({one.kind}): {asked}: {what}" for one in names for asked, what in one.gaps.items()]
    return "\n".join([*lines, "", f"{len(gaps)} gaps", *gaps]) + "\n"


def main() -> int:
    """Print the table; 1 where there is a gap."""
    names = counted()
    sys.stdout.write(table(names))
    return int(any(one.gaps for one in names))


if __name__ == "__main__":
    raise SystemExit(main())
