"""GAN inversion: anyone's style-based generator in Z, W and W+, a small one of coloured letters, rivals and measures."""

from .classifier import load_classifier
from .generator import StyleGenerator, load_generator
from .noise import NoiseRegularisation, WithNoise
from .perceptual import LpipsFeatures, Perceived, compared_after, enlarged, grey, pixels_and_features, shrunk
from .pivotal import pivotal_tuning
from .projector import Projector
from .quality import Judge, Quality
from .restyle import ReStyle, train_passes
from .spaces import StyleModel, WPlusSpace, WSpace, ZSpace
from .task import degraded, glyph_inversion, halves, perceived

__all__ = [
    "Judge",
    "LpipsFeatures",
    "NoiseRegularisation",
    "Perceived",
    "Projector",
    "Quality",
    "ReStyle",
    "StyleGenerator",
    "StyleModel",
    "WPlusSpace",
    "WSpace",
    "WithNoise",
    "ZSpace",
    "compared_after",
    "degraded",
    "enlarged",
    "glyph_inversion",
    "grey",
    "halves",
    "load_classifier",
    "load_generator",
    "perceived",
    "pivotal_tuning",
    "pixels_and_features",
    "shrunk",
    "train_passes",
]
