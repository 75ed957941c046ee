"""Feature extractors: a residual network with a feature pyramid on top."""

import torchvision
from torch import nn
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock

from lth_deploy.config.detector_spec import DetectorSpec
from lth_deploy.detectors.norms import freeze_children, norm_layer

# Channels of the residual stages C2..C5 before the block type's expansion.
STAGE_CHANNELS = (64, 128, 256, 512)
# Children of a ResNet body that `frozen_layers` counts, from the stem up.
RESNET_STAGES = (("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",))


def resnet_fpn(spec: DetectorSpec, stages: tuple[int, ...], extra: ExtraFPNBlock) -> nn.Module:
    """A ResNet whose `stages` (1..4, that is C2..C5) feed a pyramid of `spec.fpn_width` channels.

    The pyramid has plain convolutions, as torchvision's own detectors have. Weights are fresh, drawn from
    torch's global generator.
    """
    body = torchvision.models.get_model(spec.backbone, weights=None, norm_layer=norm_layer(spec.norm))
    expansion = body.inplanes // STAGE_CHANNELS[-1]
    backbone: nn.Module = BackboneWithFPN(
        body,
        return_layers={f"layer{stage}": str(level) for level, stage in enumerate(stages)},
        in_channels_list=[STAGE_CHANNELS[stage - 1] * expansion for stage in stages],
        out_channels=spec.fpn_width,
        extra_blocks=extra,
    )
    return backbone


def freeze_resnet(backbone: nn.Module, count: int) -> None:
    """Freeze the first `count` (0..5) stages of a detector's ResNet: stem, then residual stages C2..C5."""
    for names in RESNET_STAGES[:count]:
        freeze_children(backbone.get_submodule("body"), names)
