"""A small U-Net of diffusers, with random weights."""

from __future__ import annotations

from typing import Any

import torch


def unet(channels: int = 1, out_channels: int | None = None, **options: Any) -> torch.nn.Module:
    """For images of 8 × 8: two resolutions, of 8 and 16 channels, ready for evaluation; the library's own `options`."""
    import diffusers

    torch.manual_seed(0)
    network: torch.nn.Module = diffusers.UNet2DModel(
        sample_size=8,
        in_channels=channels,
        out_channels=out_channels or channels,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        add_attention=False,
        **options,
    )
    return network.eval().requires_grad_(False)
