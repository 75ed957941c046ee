"""Configurations of the package transformers, as small as a network can be that still has every part."""

from typing import Any

RESNET: dict[str, Any] = {
    "embedding_size": 16,
    "hidden_sizes": [16, 24, 32, 48],
    "depths": [1, 1, 1, 1],
    "layer_type": "basic",
    "out_features": ["stage2", "stage3", "stage4"],
}
SMALL: dict[str, Any] = {
    "d_model": 32,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "decoder_layers": 2,
    "num_queries": 20,
}
HYBRID: dict[str, Any] = {
    **SMALL,
    "backbone_config": {"model_type": "rt_detr_resnet", **RESNET},
    "encoder_hidden_dim": 32,
    "encoder_in_channels": [24, 32, 48],
    "decoder_in_channels": [32, 32, 32],
    "num_denoising": 10,
    # As many as cells: scores of a fresh network are so close that rounding would choose others.
    "num_queries": 126,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "rt_detr": HYBRID,
    "rt_detr_v2": HYBRID,
    "d_fine": {
        **HYBRID,
        "backbone_config": {
            "model_type": "hgnet_v2",
            "stem_channels": [3, 16, 16],
            "stage_in_channels": [16, 24, 24, 32],
            "stage_mid_channels": [16, 16, 16, 16],
            "stage_out_channels": [24, 24, 32, 48],
            "hidden_sizes": [24, 24, 32, 48],
            "stage_num_blocks": [1, 1, 1, 1],
            "stage_numb_of_layers": [2, 2, 2, 2],
            "out_features": ["stage2", "stage3", "stage4"],
        },
        "max_num_bins": 8,
        "lqe_hidden_dim": 16,
    },
    "detr": {**SMALL, "encoder_layers": 1, "backbone_config": {"model_type": "resnet", **RESNET}},
    "deformable_detr": {**SMALL, "encoder_layers": 1, "backbone_config": {"model_type": "resnet", **RESNET}},
    "yolos": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "image_size": [64, 96],
        "num_detection_tokens": 20,
    },
}
