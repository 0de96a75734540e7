"""3D human pose from keypoints: bodies, priors, cameras, and a forward model for the landscape to learn."""

from .actions import ACTIONS, Action, People, sample_people, walking
from .body import BodyModel, PosedBody
from .camera import PinholeCamera
from .constraints import AtPoint, JointTerm, NearLast, OnFloor
from .keypoints import KeypointModel, KeypointResiduals, keypoint_loss
from .latent import LatentAngles, PoseDecoder
from .metrics import mpjpe, pa_mpjpe, reprojection
from .mixture import PoseMixture
from .photographs import Photographs
from .skinned import SkinnedBody
from .smpl import SMPLBody
from .spaces import LimitedAngles, PoseSpace

__all__ = [
    "ACTIONS",
    "Action",
    "AtPoint",
    "BodyModel",
    "JointTerm",
    "KeypointModel",
    "KeypointResiduals",
    "LatentAngles",
    "LimitedAngles",
    "NearLast",
    "OnFloor",
    "People",
    "Photographs",
    "PinholeCamera",
    "PoseDecoder",
    "PoseMixture",
    "PoseSpace",
    "PosedBody",
    "SMPLBody",
    "SkinnedBody",
    "keypoint_loss",
    "mpjpe",
    "pa_mpjpe",
    "reprojection",
    "sample_people",
    "walking",
]
