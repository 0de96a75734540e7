"""Where fit's points come from: trajectories collected first, or a stream that is learned from as it moves."""

from .alternating import Alternating
from .points import Guide, Points, Replay
from .streaming import Streaming

__all__ = ["Alternating", "Guide", "Points", "Replay", "Streaming"]
