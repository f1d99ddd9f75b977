"""Vision transformers (Dosovitskiy et al., 2021, arXiv:2010.11929), torchvision's state_dict keys.

Attention is written with ``scaled_dot_product_attention`` on the packed projection weights, so that the network runs
and exports the same way in training and in inference.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ViTShape", "VisionTransformer", "vit_b_16", "vit_tiny_cifar"]


@dataclass(frozen=True, slots=True)
class ViTShape:
    """Sizes of a vision transformer: square images and patches in pixels, widths in channels."""

    image: int
    patch: int
    layers: int
    heads: int
    width: int
    mlp_width: int

    def __post_init__(self) -> None:
        if self.image % self.patch or self.width % self.heads:
            raise ValueError(f"ViTShape: patch must divide image and heads must divide width (got {self})")

    @property
    def tokens(self) -> int:
        """Patches of an image and the class token."""
        return (self.image // self.patch) ** 2 + 1


class SelfAttention(nn.Module):
    """Multi-head self-attention over (n, tokens, width), query, key and value weights packed in one matrix."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, width = x.shape
        packed = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        query, key, value = (
            packed.reshape(n, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        )
        mixed = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).reshape(n, tokens, width))
        return out


class MLP(nn.Sequential):
    """Two linear layers with GELU; named by position as in torchvision ("0" and "3"; dropout is never used)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(
            OrderedDict([("0", nn.Linear(width, hidden)), ("1", nn.GELU()), ("3", nn.Linear(hidden, width))])
        )


class EncoderBlock(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(shape.width, eps=1e-6)
        self.self_attention = SelfAttention(shape.width, shape.heads)
        self.ln_2 = nn.LayerNorm(shape.width, eps=1e-6)
        self.mlp = MLP(shape.width, shape.mlp_width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attention(self.ln_1(x))
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


class Encoder(nn.Module):
    """Position embedding, blocks, final layer norm."""

    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.empty(1, shape.tokens, shape.width).normal_(std=0.02))
        self.layers = nn.Sequential(
            OrderedDict((f"encoder_layer_{i}", EncoderBlock(shape)) for i in range(shape.layers))
        )
        self.ln = nn.LayerNorm(shape.width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.ln(self.layers(x + self.pos_embedding))
        return out


class VisionTransformer(nn.Module):
    """Patch embedding by a strided convolution, class token, encoder, linear head on the class token."""

    def __init__(self, shape: ViTShape, num_classes: int) -> None:
        super().__init__()
        self.class_token = nn.Parameter(torch.zeros(1, 1, shape.width))
        self.conv_proj = nn.Conv2d(3, shape.width, shape.patch, stride=shape.patch)
        self.encoder = Encoder(shape)
        self.heads = nn.Sequential(OrderedDict([("head", nn.Linear(shape.width, num_classes))]))

    def forward(self, x: Tensor) -> Tensor:
        patches = self.conv_proj(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(x.shape[0], -1, -1), patches], dim=1)
        logits: Tensor = self.heads(self.encoder(tokens)[:, 0])
        return logits


def vit_tiny_cifar(num_classes: int) -> VisionTransformer:
    """The widths of DeiT-Ti (Touvron et al., 2021, arXiv:2012.12877), 4x4 patches of 32x32 images."""
    return VisionTransformer(ViTShape(image=32, patch=4, layers=12, heads=3, width=192, mlp_width=768), num_classes)


def vit_b_16(num_classes: int) -> VisionTransformer:
    """ViT-B/16 for 224x224 images."""
    return VisionTransformer(ViTShape(image=224, patch=16, layers=12, heads=12, width=768, mlp_width=3072), num_classes)
