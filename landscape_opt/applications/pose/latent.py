"""The latent space of a learned pose prior, in the manner of VPoser: what one descends in instead of angles."""

from __future__ import annotations

from importlib import resources

import torch
from safetensors.torch import load
from torch import Tensor, nn

from .body import BodyModel
from .spaces import LimitedAngles, PoseSpace

LATENT_DIM = 24
_WIDTH = 128
_WEIGHTS = "pose_decoder.safetensors"


class PoseDecoder(nn.Module):
    """Latent numbers to the numbers of a :class:`LimitedAngles` space, (B, 24) to (B, 48).

    The decoder of a variational autoencoder (Kingma and Welling, 2014), as the body prior VPoser (Pavlakos et al., 2019) is.

    Args:
        num_outputs: numbers of the space.

    Example:
        >>> with torch.random.fork_rng(devices=[]):
        ...     decoder = PoseDecoder(48)
        >>> decoder(torch.zeros(2, 24)).shape
        torch.Size([2, 48])
    """

    def __init__(self, num_outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(LATENT_DIM, _WIDTH), nn.SiLU(), nn.Linear(_WIDTH, _WIDTH), nn.SiLU(), nn.Linear(_WIDTH, num_outputs)
        )

    def forward(self, latent: Tensor) -> Tensor:
        """(B, 24) to (B, num_outputs)."""
        numbers: Tensor = self.layers(latent)
        return numbers


class LatentAngles(PoseSpace):
    """x["pose"] is the code of a decoder, and standard normal.

    Args:
        body: whose ranges are kept.
        decoder: of the code; None takes the one that ``examples/train_pose_prior.py`` made for :class:`SkinnedBody`.

    Example:
        >>> from landscape_opt.applications.pose import SkinnedBody
        >>> LatentAngles(SkinnedBody()).angles(torch.zeros(2, 24)).shape
        torch.Size([2, 16, 3])
    """

    def __init__(self, body: BodyModel, decoder: PoseDecoder | None = None) -> None:
        super().__init__()
        self.limited = LimitedAngles(body)
        self.decoder = load_decoder() if decoder is None else decoder
        self.register_buffer("start", torch.zeros(LATENT_DIM))

    def angles(self, numbers: Tensor) -> Tensor:
        """Decoded, within the limits."""
        return self.limited.angles(self.decoder(numbers))

    def residuals(self, numbers: Tensor, angles: Tensor) -> Tensor:
        """The code itself."""
        return numbers


def load_decoder() -> PoseDecoder:
    """The decoder that comes with the package, frozen.

    Example:
        >>> load_decoder()(torch.zeros(1, 24)).shape
        torch.Size([1, 48])
    """
    stored = load(resources.files(__package__).joinpath(_WEIGHTS).read_bytes())
    # Modules draw their initial weights from the global random state; on the meta device they draw nothing.
    with torch.device("meta"):
        decoder = PoseDecoder(len(stored["layers.4.bias"]))
    decoder.load_state_dict({name: weight.to(torch.float32) for name, weight in stored.items()}, assign=True)
    return decoder.requires_grad_(False).eval()
