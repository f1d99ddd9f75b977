"""The different multiply-accumulate layers of four published networks, written out as problems."""

from __future__ import annotations

from mapper_designs import nest

from codesign.accelerator.spec.problem import Problem
from codesign.workloads.lowering import shape_key

__all__ = ["NETWORKS", "unique_layers"]


def resnet20() -> list[Problem]:
    """CIFAR ResNet-20 (He et al., CVPR 2016), 32 x 32 inputs, parameter-free shortcuts."""
    layers = [nest(C=3, M=16, P=32, Q=32, R=3, S=3, name="stem")]
    channels, size = 16, 32
    for width in (16, 32, 64):
        for block in range(3):
            stride = 2 if block == 0 and width > 16 else 1
            size //= stride
            layers.append(nest(C=channels, M=width, P=size, Q=size, R=3, S=3, stride=stride, name=f"{width}.{block}a"))
            layers.append(nest(C=width, M=width, P=size, Q=size, R=3, S=3, name=f"{width}.{block}b"))
            channels = width
    return [*layers, nest(C=64, M=10, name="classifier")]


def mobilenet_v2() -> list[Problem]:
    """MobileNetV2 at 224 x 224 (Sandler et al., CVPR 2018, table 2)."""
    layers = [nest(C=3, M=32, P=112, Q=112, R=3, S=3, stride=2, name="stem")]
    channels, size = 32, 112
    for expansion, width, repeats, first_stride in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ):  # fmt: skip
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            hidden = expansion * channels
            if expansion > 1:
                layers.append(nest(C=channels, M=hidden, P=size, Q=size, name=f"expand{hidden}"))
            size //= stride
            layers.append(nest(G=hidden, P=size, Q=size, R=3, S=3, stride=stride, name=f"depthwise{hidden}"))
            layers.append(nest(C=hidden, M=width, P=size, Q=size, name=f"project{width}"))
            channels = width
    return [*layers, nest(C=320, M=1280, P=7, Q=7, name="head"), nest(C=1280, M=1000, name="classifier")]


def vit_b16() -> list[Problem]:
    """ViT-B/16 at 224 x 224 (Dosovitskiy et al., ICLR 2021): 197 tokens, 12 heads of 64."""
    return [
        nest(C=3, M=768, P=14, Q=14, R=16, S=16, stride=16, name="patches"),
        nest(N=197, C=768, M=2304, kind="linear", name="qkv"),
        nest(G=12, N=197, C=64, M=197, kind="matmul", name="scores"),
        nest(G=12, N=197, C=197, M=64, kind="matmul", name="values"),
        nest(N=197, C=768, M=768, kind="linear", name="projection"),
        nest(N=197, C=768, M=3072, kind="linear", name="mlp_in"),
        nest(N=197, C=3072, M=768, kind="linear", name="mlp_out"),
        nest(C=768, M=1000, kind="linear", name="classifier"),
    ]


def vgg16() -> list[Problem]:
    """VGG-16 at 224 x 224 (Simonyan & Zisserman, ICLR 2015, configuration D)."""
    layers, channels, size = [], 3, 224
    for width, repeats in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for repeat in range(repeats):
            layers.append(nest(C=channels, M=width, P=size, Q=size, R=3, S=3, name=f"conv{width}.{size}.{repeat}"))
            channels = width
        size //= 2
    return [*layers, *(nest(C=c, M=m, name=f"fc{c}.{m}") for c, m in ((25088, 4096), (4096, 4096), (4096, 1000)))]


NETWORKS = {"resnet20": resnet20, "mobilenet_v2": mobilenet_v2, "vit_b16": vit_b16, "vgg16": vgg16}


def unique_layers(network: str) -> list[Problem]:
    """One problem for each different shape of the network."""
    return list({shape_key(problem): problem for problem in reversed(NETWORKS[network]())}.values())[::-1]
