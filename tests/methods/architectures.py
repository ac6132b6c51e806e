"""Small members of torchvision's families, built by the family's own class, for 32 x 32 images of three channels."""

import torch
from torch import nn
from torchvision.models import ConvNeXt, ResNet, SwinTransformer, VisionTransformer
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.resnet import BasicBlock

NAMES = ("resnet18", "vit", "swin", "convnext")


def small(name: str, *, classes: int = 3, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if name == "resnet18":
            return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=classes)
        if name == "vit":
            return VisionTransformer(
                image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=classes
            )
        if name == "swin":
            return SwinTransformer(
                patch_size=[4, 4],
                embed_dim=8,
                depths=[1, 1],
                num_heads=[2, 2],
                window_size=[4, 4],
                stochastic_depth_prob=0.0,
                num_classes=classes,
            )
        blocks = [CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)]
        return ConvNeXt(blocks, stochastic_depth_prob=0.0, num_classes=classes)
