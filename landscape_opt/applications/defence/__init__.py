"""Reversal of adversarial attacks in a learned landscape, and the attacks that go through it."""

from __future__ import annotations

from ...problems.views import View
from .apgd import APGD, auto_attack_like
from .attacks import FGSM, PGD, Attack, RandomSearch, WorstOf, cross_entropy, logits_ratio, margin
from .balls import L2, Ball, LInf
from .images import ImageSet, Labelled, digit_images, letter_images
from .networks import Networks, digit_networks, letter_networks
from .reversal import Correction, Reversal
from .robustness import Crafted, Outcome, Robustness, Threat, adaptive_threats, evaluate
from .supervision import CorrectedViews, FixedViews, Supervision
from .victims import Expectation, Slope, StraightThrough, Undefended, Unrolled, Victim

__all__ = [
    "APGD",
    "FGSM",
    "L2",
    "PGD",
    "Attack",
    "Ball",
    "CorrectedViews",
    "Correction",
    "Crafted",
    "Expectation",
    "FixedViews",
    "ImageSet",
    "LInf",
    "Labelled",
    "Networks",
    "Outcome",
    "RandomSearch",
    "Reversal",
    "Robustness",
    "Slope",
    "StraightThrough",
    "Supervision",
    "Threat",
    "Undefended",
    "Unrolled",
    "Victim",
    "View",
    "WorstOf",
    "adaptive_threats",
    "auto_attack_like",
    "cross_entropy",
    "digit_images",
    "digit_networks",
    "evaluate",
    "letter_images",
    "letter_networks",
    "logits_ratio",
    "margin",
]
