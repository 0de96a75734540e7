"""A landscape card in words: Markdown that reads well as plain text, too."""

from __future__ import annotations

from typing import Any

from .card import LandscapeCard


def as_markdown(card: LandscapeCard) -> str:
    """The card under headings, as the page of a model shows it and ``landscape-opt card`` prints it."""
    fit, weights = card.fit, card.weights
    sections = {
        f"Landscape of {card.forward_model['kind']}": [
            ("x", _shape(card.x)),
            ("one target", "not known" if card.y is None else _shape(card.y)),
            ("target features that θ reads", _or_unfitted(card.num_target_features)),
            ("forward model", f"{card.forward_model['kind']}, fingerprint `{card.forward_model['fingerprint']}`"),
        ],
        "The fit": [
            ("rounds", f"{fit.rounds}, {fit.seconds:.3g} s"),
            ("evaluations of the forward model", f"{fit.evaluations}"),
            ("updates of θ", f"{fit.updates}, {fit.skipped_updates} left out"),
            ("objective of θ in the last round", _number(fit.objective)),
            ("calibration", _calibration(card.calibration)),
        ],
        "Held-out targets": [(f"after round {one.get('round')}", _curve(one)) for one in _chosen(card.validation)]
        or [("validation", "none: fit(..., validation=targets) measures how well it does")],
        "Settings": [(name, _setting(value)) for name, value in card.settings.items()],
        "The file": [
            ("weights", f"`{weights.name}`, {weights.num_bytes} bytes, safetensors, no pickle"),
            ("sha256", f"`{weights.sha256}`"),
            ("saved", f"{card.date} on {card.platform}"),
            ("versions", ", ".join(f"{name} {version}" for name, version in card.versions.items())),
        ],
    }
    parts = []
    for level, (title, lines) in enumerate(sections.items()):
        parts.append(f"{'#' if level == 0 else '##'} {title}\n\n" + "\n".join(f"* {name}: {text}" for name, text in lines))
    return "\n\n".join(parts) + "\n"


def _shape(shape: Any) -> str:
    if isinstance(shape, dict):
        return ", ".join(f"{name}: {_shape(part)}" for name, part in shape.items())
    return ", ".join(_shape(part) for part in shape) if isinstance(shape, list) else str(shape)


def _or_unfitted(value: Any) -> str:
    return "not fitted" if value is None else str(value)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "not known"


def _calibration(scales: Any) -> str:
    if not scales:
        return "none, not fitted"
    names = {"step": "η", "move": "r", "loss": "L₀", "distance": "D"}
    return ", ".join(f"{names.get(name, name)} {_number(value)}" for name, value in scales.items())


def _chosen(validation: Any) -> list[dict[str, Any]]:
    """The first, the best and the last."""
    if not validation:
        return []
    best = min(validation, key=lambda one: float("inf") if one.get("area") is None else one["area"])
    chosen = {one.get("round"): one for one in (validation[0], best, validation[-1])}
    return sorted(chosen.values(), key=lambda one: one.get("round") or 0)


def _curve(one: dict[str, Any]) -> str:
    def row(name: str) -> str:
        return ", ".join(_number(value) for value in one.get(name) or ())

    budgets = ", ".join(str(budget) for budget in one.get("budgets") or ())
    text = f"median loss {row('median')} (mean {row('mean')}) at {budgets} evaluations; plain descent {row('plain_median')}"
    after = one.get("break_even")
    return text + (f"; fitting has paid after {after:.0f} inversions" if isinstance(after, int | float) else "")


def _setting(value: Any) -> str:
    if isinstance(value, dict):
        kind, rest = value.get("kind"), {**value, **(value.get("settings") or {})}
        told = [f"{name} {_setting(one)}" for name, one in rest.items() if name not in ("kind", "settings")]
        return ", ".join(([str(kind)] if kind else []) + told)
    return " ".join(str(one) for one in value) if isinstance(value, list) else str(value)
