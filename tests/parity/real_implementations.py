"""Builders of ResNets, VGGs and their relatives that other packages install, and what each was measured to be.

Measured with every parameter and buffer random, in float64, mapped by name, against the spec's own network: the largest
difference of the outputs over the largest output, of one image in eval at 224 and at other sizes, and of two images in
train with dropout modules off. "raises" is an error inside the module. No weights are loaded.

timm 1.0.31, transformers 5.23, pytorchcv 0.0.74, resnest 0.0.5, torchvision 0.29.1. A check must not be tuned to these.
"""

from __future__ import annotations

import importlib
import operator
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

Verdict = Literal["same", "only at the declared input", "another arch", "different"]
SAME: Verdict = "same"
DECLARED: Verdict = "only at the declared input"
ANOTHER: Verdict = "another arch"
DIFFERENT: Verdict = "different"

LAST_ZERO = "the last norm of each block starts at 0"
UNIFORM = "convolutions start uniform"
UNIFORM_LINEAR = "convolutions start uniform, linear layers as torch's"
TIMM_VGG = (
    "dropout 0.0 instead of 0.5; the first two linear layers are convolutions and start as such; "
    "pools after the head: the same on smaller inputs, another network on larger ones"
)
NARROW, WIDE = (64, 128, 256, 512), (256, 512, 1024, 2048)


@dataclass(frozen=True)
class Implementation:
    """One builder, the arch it is or is nearest to, and what it was measured to be."""

    name: str
    package: str
    build: Callable[[], nn.Module]
    arch: str
    verdict: Verdict
    is_arch: str = ""  # the other known arch that it is
    but: str = ""  # what else differs: in training or at the start only, unless it is different
    measured: str = ""


def found(module: str, name: str) -> Any:
    """What a module of a package calls so, imported now."""
    return operator.attrgetter(name)(importlib.import_module(module))


def timm_model(name: str, **options: Any) -> Callable[[], nn.Module]:
    """A model of timm's registry."""

    def build() -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old names are deprecated
            return found("timm", "create_model")(name, pretrained=False, **options)

    return build


def transformers_model(name: str, config: str, **options: Any) -> Callable[[], nn.Module]:
    """A model of transformers, from its configuration."""
    return lambda: found("transformers", name)(found("transformers", config)(**options))


def transformers_resnet(
    depths: Sequence[int], layer_type: str, sizes: Sequence[int], **options: Any
) -> Callable[[], nn.Module]:
    """ResNetForImageClassification."""
    more = {"depths": list(depths), "layer_type": layer_type, "hidden_sizes": list(sizes), "num_labels": 1000} | options
    return transformers_model("ResNetForImageClassification", "ResNetConfig", **more)


def pytorchcv_model(name: str, **options: Any) -> Callable[[], nn.Module]:
    """A model of pytorchcv's registry."""
    return lambda: found("pytorchcv.model_provider", "get_model")(name, pretrained=False, **options)


def resnest_resnet(depths: Sequence[int], **options: Any) -> Callable[[], nn.Module]:
    """The ResNet that resnest derives its own from."""
    module = "resnest.torch.resnet"
    return lambda: found(module, "ResNet")(found(module, "Bottleneck"), list(depths), **options)


def resnest_resnest50() -> nn.Module:
    """ResNeSt-50 itself."""
    return found("resnest.torch.resnest", "resnest50")(pretrained=False)


def torchvision_model(name: str, **options: Any) -> Callable[[], nn.Module]:
    """A builder of torchvision.models."""

    def build() -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the quantised ones deprecate themselves
            return found("torchvision.models", name)(**options)

    return build


def torchvision_feature_extractor() -> nn.Module:
    """resnet50 as a graph that gives a dict of its logits."""
    extract = found("torchvision.models.feature_extraction", "create_feature_extractor")
    return extract(torchvision_model("resnet50")(), {"fc": "out"})


def torchvision_frozen_norm() -> nn.Module:
    """resnet50 whose norms are buffers."""
    return torchvision_model("resnet50", norm_layer=found("torchvision.ops", "FrozenBatchNorm2d"))()


def torchvision_group_norm() -> nn.Module:
    """resnet50 with group norms."""
    return torchvision_model("resnet50", norm_layer=lambda channels: nn.GroupNorm(32, channels))()


def torchvision_fpn_backbone() -> nn.Module:
    """A detector's backbone."""
    module = "torchvision.models.detection.backbone_utils"
    return found(module, "resnet_fpn_backbone")(backbone_name="resnet50", weights=None)


def torchvision_vgg16_features() -> nn.Module:
    """The convolutions of vgg16."""
    return torchvision_model("vgg16")().features


def row(package: str, model: Callable[..., Callable[[], nn.Module]]) -> Callable[..., Implementation]:
    """A function that makes rows of one package; the options of the model come last and are part of the name."""

    def make(
        name: str, arch: str, verdict: Verdict, measured: str, but: str = "", is_arch: str = "", **options: Any
    ) -> Implementation:
        called = " ".join([package, name, *(f"{option}={value}" for option, value in options.items())])
        if verdict == DECLARED and arch == "resnet50_v1":
            called += " as v1"  # stands here twice
        return Implementation(called, package, model(name, **options), arch, verdict, is_arch, but, measured)

    return make


in_timm = row("timm", timm_model)
in_pytorchcv = row("pytorchcv", pytorchcv_model)
in_torchvision = row("torchvision", torchvision_model)


IMPLEMENTATIONS = (
    # timm
    in_timm("resnet18", "resnet18", SAME, "224: 0, 256: 0, 160: 0, train 64: 0", LAST_ZERO),
    in_timm("resnet34", "resnet34", SAME, "224: 0, 256: 0, 160: 0, train 64: 0", LAST_ZERO),
    in_timm("resnet50", "resnet50", SAME, "224: 0, 256: 0, 160: 0, train 64: 0", LAST_ZERO),
    in_timm("resnet101", "resnet101", SAME, "224: 0, 160: 0, train 64: 0", LAST_ZERO),
    in_timm("resnet152", "resnet152", SAME, "224: 0, 160: 0, train 64: 0", LAST_ZERO),
    in_timm("resnext50_32x4d", "resnext50_32x4d", SAME, "224: 0, 256: 0, 160: 0, train 64: 0", LAST_ZERO),
    in_timm("resnext101_32x8d", "resnext101_32x8d", SAME, "224: 0, 160: 0, train 64: 0", LAST_ZERO),
    in_timm("resnext101_64x4d", "resnext101_64x4d", SAME, "224: 0, 160: 0, train 64: 0", LAST_ZERO),
    in_timm("wide_resnet50_2", "wide_resnet50_2", SAME, "224: 0, 160: 0, train 64: 0", LAST_ZERO),
    in_timm("wide_resnet101_2", "wide_resnet101_2", SAME, "224: 0, 160: 0, train 64: 0", LAST_ZERO),
    in_timm("vgg11", "vgg11", DECLARED, "224: 0, 256: 3.8e-02, 160: 0, train 64: 2e-15", TIMM_VGG),
    in_timm("vgg11_bn", "vgg11_bn", DECLARED, "224: 0, 256: 3.2e-02, 160: 0, train 64: 2e-15", TIMM_VGG),
    in_timm("vgg13", "vgg13", DECLARED, "224: 0, 256: 3.2e-02, 160: 0, train 64: 2e-15", TIMM_VGG),
    in_timm("vgg13_bn", "vgg13_bn", DECLARED, "224: 0, 256: 3.1e-02, 160: 0, train 64: 2e-15", TIMM_VGG),
    in_timm("vgg16", "vgg16", DECLARED, "224: 0, 256: 4.0e-02, 160: 0, train 64: 2e-15", TIMM_VGG),
    in_timm("vgg16_bn", "vgg16_bn", DECLARED, "224: 0, 256: 2.6e-02, 160: 0, train 64: 2e-15", TIMM_VGG),
    in_timm("vgg19", "vgg19", DECLARED, "224: 0, 256: 4.2e-02, 160: 0, train 64: 2e-15", TIMM_VGG),
    in_timm("vgg19_bn", "vgg19_bn", DECLARED, "224: 0, 256: 4.5e-02, 160: 0, train 64: 2e-15", TIMM_VGG),
    in_timm("resnet26", "resnet50(depths=[2, 2, 2, 2])", SAME, "224: 0, 256: 0, 160: 0, train 64: 0", LAST_ZERO),
    in_timm("resnet200", "resnet50(depths=[3, 24, 36, 3])", SAME, "224: 0, 160: 0, train 64: 0", LAST_ZERO),
    in_timm(
        "resnext101_32x4d", "resnext50_32x4d(depths=[3, 4, 23, 3])", SAME, "224: 0, 160: 0, train 64: 0", LAST_ZERO
    ),
    in_timm("resnet50.tv_in1k", "resnet50", SAME, "224: 0, 256: 0, 160: 0, train 64: 0", LAST_ZERO),
    in_timm("resnet50.a1_in1k", "resnet50", SAME, "224: 0, 256: 0, 160: 0, train 64: 0", LAST_ZERO),
    in_timm("resnet18.fb_ssl_yfcc100m_ft_in1k", "resnet18", SAME, "224: 0, 256: 0, 160: 0, train 64: 0", LAST_ZERO),
    in_timm("resnext101_32x8d.fb_wsl_ig1b_ft_in1k", "resnext101_32x8d", SAME, "224: 0, 160: 0, train 64: 0", LAST_ZERO),
    in_timm("tv_resnet50", "resnet50", SAME, "224: 0, 256: 0, 160: 0, train 64: 0", LAST_ZERO),
    in_timm("ssl_resnet18", "resnet18", SAME, "224: 0, 256: 0, 160: 0, train 64: 0", LAST_ZERO),
    in_timm("gluon_resnet50_v1b", "resnet50", SAME, "224: 0, 256: 0, 160: 0, train 64: 0", LAST_ZERO),
    in_timm(
        "resnet50",
        "resnet50",
        SAME,
        "224: 0, 256: 0, 160: 0, train 64: 4.8e-01",
        LAST_ZERO + "; dropout 0.2 before fc",
        drop_rate=0.2,
    ),
    in_timm(
        "resnet50",
        "resnet50",
        SAME,
        "224: 0, 256: 0, 160: 0, train 64: 2.4e-01",
        LAST_ZERO + "; stochastic depth up to 0.1",
        drop_path_rate=0.1,
    ),
    in_timm("resnet50", "resnet50", SAME, "224: 0, 256: 0, 160: 0, train 64: 0", zero_init_last=False),
    in_timm("resnet18", "resnet18(classes=10)", SAME, "224: 0, 256: 0, 160: 0, train 64: 0", LAST_ZERO, num_classes=10),
    in_timm(
        "resnet18",
        "resnet18",
        DIFFERENT,
        "11,176,512 parameters, the arch has 11,689,512",
        "no head; gives five feature maps",
        features_only=True,
    ),
    in_timm(
        "resnet50", "resnet50", DIFFERENT, "23,508,032 parameters, the arch has 25,557,032", "no head", num_classes=0
    ),
    in_timm(
        "resnet50",
        "resnet50",
        DIFFERENT,
        "224: 1.0e+00, 256: 9.6e-01, 160: 1.3e+00",
        "global max-pool",
        global_pool="max",
    ),
    in_timm(
        "resnet50",
        "resnet50",
        DIFFERENT,
        "224: 5.2e-01, 256: 4.8e-01, 160: 6.3e-01",
        "mean of average and max-pool",
        global_pool="avgmax",
    ),
    in_timm(
        "resnet50",
        "resnet50",
        DIFFERENT,
        "224: 3.4e-02, 256: 3.1e-02, 160: 5.3e-02",
        "last stage dilated",
        output_stride=16,
    ),
    in_timm(
        "resnet18",
        "resnet18",
        DIFFERENT,
        "11,683,240 parameters, the arch has 11,689,512",
        "one input channel",
        in_chans=1,
    ),
    in_timm("resnet50", "resnet50", SAME, "224: 0, 256: 0, 160: 0, train 64: 0", LAST_ZERO, scriptable=True),
    in_timm(
        "resnet18d",
        "resnet18",
        DIFFERENT,
        "11,708,744 parameters, the arch has 11,689,512",
        "stem of three 3x3, average pool before the 1x1 of a shortcut",
    ),
    in_timm(
        "seresnet18", "resnet18", DIFFERENT, "11,779,624 parameters, the arch has 11,689,512", "squeeze and excitation"
    ),
    in_timm(
        "resnetblur18",
        "resnet18",
        DIFFERENT,
        "224: 5.3e-02, 256: 5.8e-02, 160: 6.8e-02",
        "blur pool after the strided convolution",
    ),
    in_timm(
        "resnet10t",
        "resnet18",
        DIFFERENT,
        "5,435,488 parameters, the arch has 11,689,512",
        "stem of three tiered 3x3, average pool in the shortcut",
    ),
    in_timm("skresnet18", "resnet18", DIFFERENT, "11,958,056 parameters, the arch has 11,689,512", "selective kernels"),
    in_timm(
        "resnetv2_18",
        "resnet18",
        DIFFERENT,
        "11,687,720 parameters, the arch has 11,689,512",
        "norm before convolution",
    ),
    in_timm(
        "resnet34d",
        "resnet34",
        DIFFERENT,
        "21,816,904 parameters, the arch has 21,797,672",
        "stem of three 3x3, average pool before the 1x1 of a shortcut",
    ),
    in_timm(
        "seresnet34", "resnet34", DIFFERENT, "21,960,416 parameters, the arch has 21,797,672", "squeeze and excitation"
    ),
    in_timm(
        "resnet50d",
        "resnet50",
        DIFFERENT,
        "25,576,264 parameters, the arch has 25,557,032",
        "stem of three 3x3, average pool before the 1x1 of a shortcut",
    ),
    in_timm("resnet50c", "resnet50", DIFFERENT, "25,576,264 parameters, the arch has 25,557,032", "stem of three 3x3"),
    in_timm(
        "resnet50s", "resnet50", DIFFERENT, "25,680,808 parameters, the arch has 25,557,032", "stem of three wider 3x3"
    ),
    in_timm(
        "resnet50t",
        "resnet50",
        DIFFERENT,
        "25,573,728 parameters, the arch has 25,557,032",
        "stem of three tiered 3x3, average pool in the shortcut",
    ),
    in_timm(
        "resnet50_gn",
        "resnet50",
        DIFFERENT,
        "25,557,032 parameters as the arch, other tensors",
        "group norm; as many parameters as resnet50",
    ),
    in_timm(
        "resnetv2_50",
        "resnet50",
        DIFFERENT,
        "25,549,352 parameters, the arch has 25,557,032",
        "norm before convolution",
    ),
    in_timm(
        "resnetv2_50d",
        "resnet50",
        DIFFERENT,
        "25,568,584 parameters, the arch has 25,557,032",
        "norm before convolution",
    ),
    in_timm(
        "seresnet50", "resnet50", DIFFERENT, "28,088,024 parameters, the arch has 25,557,032", "squeeze and excitation"
    ),
    in_timm(
        "legacy_seresnet50",
        "resnet50",
        DIFFERENT,
        "28,088,024 parameters, the arch has 25,557,032",
        "squeeze and excitation",
    ),
    in_timm(
        "ecaresnet50d",
        "resnet50",
        DIFFERENT,
        "25,576,350 parameters, the arch has 25,557,032",
        "channel attention, stem and shortcut of resnet50d",
    ),
    in_timm(
        "resnetaa50",
        "resnet50",
        DIFFERENT,
        "224: 6.3e-01, 256: 6.2e-01, 160: 6.2e-01",
        "average pool after the strided 3x3",
    ),
    in_timm(
        "resnetblur50",
        "resnet50",
        DIFFERENT,
        "224: 9.6e-02, 256: 9.2e-02, 160: 1.0e-01",
        "blur pool after the strided convolution",
    ),
    in_timm(
        "resnetrs50",
        "resnet50",
        DIFFERENT,
        "35,691,912 parameters, the arch has 25,557,032",
        "squeeze and excitation, another stem and shortcut",
    ),
    in_timm(
        "cspresnet50", "resnet50", DIFFERENT, "21,616,168 parameters, the arch has 25,557,032", "cross-stage partial"
    ),
    in_timm("skresnet50", "resnet50", DIFFERENT, "25,803,160 parameters, the arch has 25,557,032", "selective kernels"),
    in_timm(
        "resnet50_clip",
        "resnet50",
        DIFFERENT,
        "38,316,896 parameters, the arch has 25,557,032",
        "CLIP's stem and attention pool",
    ),
    in_timm(
        "nf_resnet50",
        "resnet50",
        DIFFERENT,
        "25,557,032 parameters as the arch, other tensors",
        "no norms, scaled weights; as many parameters as resnet50",
    ),
    in_timm(
        "resnetv2_50x1_bit",
        "resnet50",
        DIFFERENT,
        "25,549,352 parameters, the arch has 25,557,032",
        "group norm before standardised convolution",
    ),
    in_timm(
        "resnet50_mlp",
        "resnet50",
        DIFFERENT,
        "26,654,536 parameters, the arch has 25,557,032",
        "a hidden layer in the head",
    ),
    in_timm(
        "resnet61q",
        "resnet50",
        DIFFERENT,
        "36,846,968 parameters, the arch has 25,557,032",
        "another stem, SiLU, other stages",
    ),
    in_timm(
        "seresnext50_32x4d",
        "resnext50_32x4d",
        DIFFERENT,
        "27,559,896 parameters, the arch has 25,028,904",
        "squeeze and excitation",
    ),
    in_timm(
        "resnext50d_32x4d",
        "resnext50_32x4d",
        DIFFERENT,
        "25,048,136 parameters, the arch has 25,028,904",
        "stem of three 3x3, average pool before the 1x1 of a shortcut",
    ),
    in_timm(
        "cspresnext50",
        "resnext50_32x4d",
        DIFFERENT,
        "20,569,896 parameters, the arch has 25,028,904",
        "cross-stage partial",
    ),
    in_timm("repvgg_a0", "vgg16", DIFFERENT, "9,108,968 parameters, the arch has 138,357,544", "RepVGG"),
    # transformers
    Implementation(
        "transformers resnet18",
        "transformers",
        transformers_resnet([2, 2, 2, 2], "basic", NARROW),
        "resnet18",
        SAME,
        "",
        "",
        "224: 0, 256: 0, 160: 0, train 64: 0",
    ),
    Implementation(
        "transformers resnet34",
        "transformers",
        transformers_resnet([3, 4, 6, 3], "basic", NARROW),
        "resnet34",
        SAME,
        "",
        "",
        "224: 0, 256: 0, 160: 0, train 64: 0",
    ),
    Implementation(
        "transformers resnet50",
        "transformers",
        transformers_resnet([3, 4, 6, 3], "bottleneck", WIDE),
        "resnet50",
        SAME,
        "",
        "",
        "224: 0, 256: 0, 160: 0, train 64: 0",
    ),
    Implementation(
        "transformers resnet101",
        "transformers",
        transformers_resnet([3, 4, 23, 3], "bottleneck", WIDE),
        "resnet101",
        SAME,
        "",
        "",
        "224: 0, 160: 0, train 64: 0",
    ),
    Implementation(
        "transformers resnet152",
        "transformers",
        transformers_resnet([3, 8, 36, 3], "bottleneck", WIDE),
        "resnet152",
        SAME,
        "",
        "",
        "224: 0, 160: 0, train 64: 0",
    ),
    Implementation(
        "transformers resnet50 v1",
        "transformers",
        transformers_resnet([3, 4, 6, 3], "bottleneck", WIDE, downsample_in_bottleneck=True),
        "resnet50",
        ANOTHER,
        "resnet50_v1",
        "",
        "224: 6.9e-02, 256: 5.2e-02, 160: 1.0e-01, of resnet50_v1: 224: 0, 256: 0, 160: 0, train 64: 0",
    ),
    Implementation(
        "transformers resnet101 v1",
        "transformers",
        transformers_resnet([3, 4, 23, 3], "bottleneck", WIDE, downsample_in_bottleneck=True),
        "resnet101",
        ANOTHER,
        "resnet101_v1",
        "",
        "224: 5.6e-02, 160: 7.9e-02, of resnet101_v1: 224: 0, 160: 0, train 64: 0",
    ),
    Implementation(
        "transformers resnet152 v1",
        "transformers",
        transformers_resnet([3, 8, 36, 3], "bottleneck", WIDE, downsample_in_bottleneck=True),
        "resnet152",
        ANOTHER,
        "resnet152_v1",
        "",
        "224: 5.5e-02, 160: 6.6e-02, of resnet152_v1: 224: 0, 160: 0, train 64: 0",
    ),
    Implementation(
        "transformers resnet50 downsample_in_first_stage",
        "transformers",
        transformers_resnet([3, 4, 6, 3], "bottleneck", WIDE, downsample_in_first_stage=True),
        "resnet50",
        DIFFERENT,
        "",
        "the first stage strides too; as many parameters as resnet50",
        "224: 3.4e-01, 256: 3.1e-01, 160: 4.2e-01",
    ),
    Implementation(
        "transformers resnet50 gelu",
        "transformers",
        transformers_resnet([3, 4, 6, 3], "bottleneck", WIDE, hidden_act="gelu"),
        "resnet50",
        DIFFERENT,
        "",
        "GELU; as many parameters as resnet50",
        "224: 1.4e-02, 256: 1.3e-02, 160: 1.4e-02",
    ),
    Implementation(
        "transformers ResNetBackbone",
        "transformers",
        transformers_model("ResNetBackbone", "ResNetConfig"),
        "resnet50",
        DIFFERENT,
        "",
        "no head; gives feature maps",
        "23,508,032 parameters, the arch has 25,557,032",
    ),
    Implementation(
        "transformers ResNetModel",
        "transformers",
        transformers_model("ResNetModel", "ResNetConfig"),
        "resnet50",
        DIFFERENT,
        "",
        "no fc",
        "23,508,032 parameters, the arch has 25,557,032",
    ),
    Implementation(
        "transformers TimmWrapper resnet18",
        "transformers",
        transformers_model(
            "TimmWrapperForImageClassification", "TimmWrapperConfig", architecture="resnet18", num_labels=1000
        ),
        "resnet18",
        SAME,
        "",
        "all weights start normal with 0.02",
        "224: 0, 256: 0, 160: 0, train 64: 0",
    ),
    Implementation(
        "transformers RegNet",
        "transformers",
        transformers_model("RegNetForImageClassification", "RegNetConfig"),
        "resnext50_32x4d",
        DIFFERENT,
        "",
        "RegNet-Y",
        "19,559,834 parameters, the arch has 25,028,904",
    ),
    Implementation(
        "transformers BiT",
        "transformers",
        transformers_model("BitForImageClassification", "BitConfig", num_labels=1000),
        "resnet50",
        DIFFERENT,
        "",
        "group norm before standardised convolution",
        "25,549,352 parameters, the arch has 25,557,032",
    ),
    Implementation(
        "transformers RTDetrResNetBackbone",
        "transformers",
        transformers_model("RTDetrResNetBackbone", "RTDetrResNetConfig"),
        "resnet50",
        DIFFERENT,
        "",
        "no head; resnet50d's stem and shortcut",
        "23,527,264 parameters, the arch has 25,557,032",
    ),
    # pytorchcv
    in_pytorchcv(
        "resnet10",
        "resnet18(depths=[1, 1, 1, 1])",
        DECLARED,
        "224: 3e-16, 256 and 160: raise, train 224: 3e-16",
        UNIFORM,
    ),
    in_pytorchcv(
        "resnet12",
        "resnet18(depths=[2, 1, 1, 1])",
        DECLARED,
        "224: 3e-16, 256 and 160: raise, train 224: 3e-16",
        UNIFORM,
    ),
    in_pytorchcv(
        "resnet14",
        "resnet18(depths=[2, 2, 1, 1])",
        DECLARED,
        "224: 3e-16, 256 and 160: raise, train 224: 3e-16",
        UNIFORM,
    ),
    in_pytorchcv(
        "resnet16",
        "resnet18(depths=[2, 2, 2, 1])",
        DECLARED,
        "224: 3e-16, 256 and 160: raise, train 224: 3e-16",
        UNIFORM,
    ),
    in_pytorchcv("resnet18", "resnet18", DECLARED, "224: 3e-16, 256 and 160: raise, train 224: 4e-16", UNIFORM),
    in_pytorchcv(
        "resnet18_wd4",
        "resnet18(width=16)",
        DIFFERENT,
        "3,937,400 parameters, the arch has 831,096",
        "the last block alone is 512 wide",
    ),
    in_pytorchcv(
        "resnet18_wd2",
        "resnet18(width=32)",
        DIFFERENT,
        "5,804,296 parameters, the arch has 3,055,880",
        "the last block alone is 512 wide",
    ),
    in_pytorchcv(
        "resnet18_w3d4",
        "resnet18(width=48)",
        DIFFERENT,
        "8,476,056 parameters, the arch has 6,675,352",
        "the last block alone is 512 wide",
    ),
    in_pytorchcv(
        "resnet26",
        "resnet18(depths=[3, 3, 3, 3])",
        DECLARED,
        "224: 3e-16, 256 and 160: raise, train 224: 4e-16",
        UNIFORM,
    ),
    in_pytorchcv("resnet34", "resnet34", DECLARED, "224: 4e-16, 256 and 160: raise, train 224: 3e-16", UNIFORM),
    in_pytorchcv(
        "resnetbc14b",
        "resnet50(depths=[1, 1, 1, 1])",
        DECLARED,
        "224: 4e-16, 256 and 160: raise, train 224: 4e-16",
        UNIFORM,
    ),
    in_pytorchcv(
        "resnetbc26b",
        "resnet50(depths=[2, 2, 2, 2])",
        DECLARED,
        "224: 4e-16, 256 and 160: raise, train 224: 4e-16",
        UNIFORM,
    ),
    in_pytorchcv(
        "resnetbc38b",
        "resnet50(depths=[3, 3, 3, 3])",
        DECLARED,
        "224: 4e-16, 256 and 160: raise, train 224: 5e-16",
        UNIFORM,
    ),
    in_pytorchcv("resnet50b", "resnet50", DECLARED, "224: 4e-16, 256 and 160: raise, train 224: 5e-16", UNIFORM),
    in_pytorchcv("resnet101b", "resnet101", DECLARED, "224: 3e-16, 160: raises, train 224: 5e-16", UNIFORM),
    in_pytorchcv("resnet152b", "resnet152", DECLARED, "224: 3e-16, 160: raises, train 224: 5e-16", UNIFORM),
    in_pytorchcv(
        "resnet200b", "resnet50(depths=[3, 24, 36, 3])", DECLARED, "224: 4e-16, 160: raises, train 224: 6e-16", UNIFORM
    ),
    in_pytorchcv(
        "resnext50_32x4d", "resnext50_32x4d", DECLARED, "224: 5e-16, 256 and 160: raise, train 224: 4e-16", UNIFORM
    ),
    in_pytorchcv(
        "resnext101_32x4d",
        "resnext50_32x4d(depths=[3, 4, 23, 3])",
        DECLARED,
        "224: 4e-16, 160: raises, train 224: 5e-16",
        UNIFORM,
    ),
    in_pytorchcv(
        "resnext101_64x4d", "resnext101_64x4d", DECLARED, "224: 6e-16, 160: raises, train 224: 5e-16", UNIFORM
    ),
    in_pytorchcv(
        "resnext14_32x4d",
        "resnext50_32x4d(depths=[1, 1, 1, 1])",
        DECLARED,
        "224: 2e-16, 256 and 160: raise, train 224: 4e-16",
        UNIFORM,
    ),
    in_pytorchcv(
        "resnext26_32x4d",
        "resnext50_32x4d(depths=[2, 2, 2, 2])",
        DECLARED,
        "224: 4e-16, 256 and 160: raise, train 224: 4e-16",
        UNIFORM,
    ),
    in_pytorchcv(
        "resnet50",
        "resnet50",
        ANOTHER,
        "224: 6.9e-02, 256 and 160: raise, of resnet50_v1: 224: 4e-16, 256 and 160: raise, train 224: 6e-16",
        "and that at the declared input only; convolutions start uniform",
        is_arch="resnet50_v1",
    ),
    in_pytorchcv(
        "resnet101",
        "resnet101",
        ANOTHER,
        "224: 5.6e-02, 160: raises, of resnet101_v1: 224: 4e-16, 160: raises, train 224: 5e-16",
        "and that at the declared input only; convolutions start uniform",
        is_arch="resnet101_v1",
    ),
    in_pytorchcv(
        "resnet152",
        "resnet152",
        ANOTHER,
        "224: 5.5e-02, 160: raises, of resnet152_v1: 224: 3e-16, 160: raises, train 224: 5e-16",
        "and that at the declared input only; convolutions start uniform",
        is_arch="resnet152_v1",
    ),
    in_pytorchcv("resnet50", "resnet50_v1", DECLARED, "224: 4e-16, 256 and 160: raise, train 224: 6e-16", UNIFORM),
    in_pytorchcv(
        "resnet200",
        "resnet50_v1(depths=[3, 24, 36, 3])",
        DECLARED,
        "224: 4e-16, 160: raises, train 224: 4e-16",
        UNIFORM,
    ),
    in_pytorchcv(
        "resnet50b",
        "resnet50",
        DECLARED,
        "224: 4e-16, 256 and 160: raise, train 224: 5e-16",
        UNIFORM,
        in_size=(256, 256),
    ),
    in_pytorchcv("vgg11", "vgg11", DECLARED, "224: 0, 256 and 160: raise, train 224: 0", UNIFORM_LINEAR),
    in_pytorchcv(
        "bn_vgg11",
        "vgg11_bn",
        DIFFERENT,
        "132,866,088 parameters, the arch has 132,868,840",
        "no bias in the convolutions",
    ),
    in_pytorchcv("bn_vgg11b", "vgg11_bn", DECLARED, "224: 0, 256 and 160: raise, train 224: 0", UNIFORM_LINEAR),
    in_pytorchcv("vgg13", "vgg13", DECLARED, "224: 0, 256 and 160: raise, train 224: 0", UNIFORM_LINEAR),
    in_pytorchcv(
        "bn_vgg13",
        "vgg13_bn",
        DIFFERENT,
        "133,050,792 parameters, the arch has 133,053,736",
        "no bias in the convolutions",
    ),
    in_pytorchcv("bn_vgg13b", "vgg13_bn", DECLARED, "224: 0, 256 and 160: raise, train 224: 0", UNIFORM_LINEAR),
    in_pytorchcv("vgg16", "vgg16", DECLARED, "224: 0, 256 and 160: raise, train 224: 0", UNIFORM_LINEAR),
    in_pytorchcv(
        "bn_vgg16",
        "vgg16_bn",
        DIFFERENT,
        "138,361,768 parameters, the arch has 138,365,992",
        "no bias in the convolutions",
    ),
    in_pytorchcv("bn_vgg16b", "vgg16_bn", DECLARED, "224: 0, 256 and 160: raise, train 224: 0", UNIFORM_LINEAR),
    in_pytorchcv("vgg19", "vgg19", DECLARED, "224: 0, 256 and 160: raise, train 224: 0", UNIFORM_LINEAR),
    in_pytorchcv(
        "bn_vgg19",
        "vgg19_bn",
        DIFFERENT,
        "143,672,744 parameters, the arch has 143,678,248",
        "no bias in the convolutions",
    ),
    in_pytorchcv("bn_vgg19b", "vgg19_bn", DECLARED, "224: 0, 256 and 160: raise, train 224: 0", UNIFORM_LINEAR),
    in_pytorchcv(
        "wrn50_2",
        "wide_resnet50_2",
        DIFFERENT,
        "68,849,128 parameters, the arch has 68,883,240",
        "no norms, biases instead",
    ),
    in_pytorchcv(
        "resnet18_cub", "resnet18(classes=200)", DECLARED, "224: 3e-16, 256 and 160: raise, train 224: 3e-16", UNIFORM
    ),
    in_pytorchcv(
        "preresnet18",
        "resnet18",
        DIFFERENT,
        "11,687,848 parameters, the arch has 11,689,512",
        "norm before convolution",
    ),
    in_pytorchcv(
        "preresnet50b",
        "resnet50",
        DIFFERENT,
        "25,549,480 parameters, the arch has 25,557,032",
        "norm before convolution",
    ),
    in_pytorchcv(
        "seresnet18", "resnet18", DIFFERENT, "11,778,592 parameters, the arch has 11,689,512", "squeeze and excitation"
    ),
    in_pytorchcv(
        "seresnet50b", "resnet50", DIFFERENT, "28,088,024 parameters, the arch has 25,557,032", "squeeze and excitation"
    ),
    in_pytorchcv(
        "bam_resnet50",
        "resnet50",
        DIFFERENT,
        "25,915,099 parameters, the arch has 25,557,032",
        "attention between stages",
    ),
    in_pytorchcv(
        "cbam_resnet50", "resnet50", DIFFERENT, "28,089,624 parameters, the arch has 25,557,032", "attention in blocks"
    ),
    in_pytorchcv(
        "ibn_resnet50",
        "resnet50",
        DIFFERENT,
        "25,557,032 parameters as the arch, other tensors",
        "instance norm for half the channels",
    ),
    in_pytorchcv(
        "ibnb_resnet50",
        "resnet50",
        DIFFERENT,
        "25,558,568 parameters, the arch has 25,557,032",
        "instance norm after blocks",
    ),
    in_pytorchcv(
        "resneta50b",
        "resnet50",
        DIFFERENT,
        "25,576,264 parameters, the arch has 25,557,032",
        "average pools in shortcuts",
    ),
    in_pytorchcv(
        "resnetd50b",
        "resnet50",
        DIFFERENT,
        "25,680,808 parameters, the arch has 25,557,032",
        "stem of three 3x3, average pool before the 1x1 of a shortcut",
    ),
    in_pytorchcv(
        "sharesnet18", "resnet18", DIFFERENT, "224: 6.2e-01, 256 and 160: raise", "weights shared among blocks"
    ),
    in_pytorchcv(
        "sharesnet50b", "resnet50", DIFFERENT, "224: 9.9e-01, 256 and 160: raise", "weights shared among blocks"
    ),
    in_pytorchcv(
        "diaresnet50b",
        "resnet50",
        DIFFERENT,
        "39,516,072 parameters, the arch has 25,557,032",
        "a shared LSTM between blocks",
    ),
    in_pytorchcv(
        "isqrtcovresnet50b", "resnet50", DIFFERENT, "56,929,832 parameters, the arch has 25,557,032", "covariance pool"
    ),
    in_pytorchcv(
        "octresnet50b_ad2",
        "resnet50",
        DIFFERENT,
        "25,557,032 parameters as the arch, other tensors",
        "octave convolutions",
    ),
    in_pytorchcv(
        "resnet20_cifar10",
        "resnet18(classes=10)",
        DIFFERENT,
        "272,474 parameters, the arch has 11,181,642",
        "the CIFAR network",
    ),
    in_pytorchcv(
        "seresnext50_32x4d",
        "resnext50_32x4d",
        DIFFERENT,
        "27,559,896 parameters, the arch has 25,028,904",
        "squeeze and excitation",
    ),
    in_pytorchcv(
        "ibn_resnext50_32x4d",
        "resnext50_32x4d",
        DIFFERENT,
        "25,028,904 parameters as the arch, other tensors",
        "instance norm for half the channels",
    ),
    # resnest
    Implementation(
        "resnest resnet50",
        "resnest",
        resnest_resnet([3, 4, 6, 3], radix=0),
        "resnet50",
        SAME,
        "",
        "",
        "224: 0, 256: 0, 160: 0, train 64: 0",
    ),
    Implementation(
        "resnest resnet101",
        "resnest",
        resnest_resnet([3, 4, 23, 3], radix=0),
        "resnet101",
        SAME,
        "",
        "",
        "224: 0, 160: 0, train 64: 0",
    ),
    Implementation(
        "resnest resnet152",
        "resnest",
        resnest_resnet([3, 8, 36, 3], radix=0),
        "resnet152",
        SAME,
        "",
        "",
        "224: 0, 160: 0, train 64: 0",
    ),
    Implementation(
        "resnest resnext50_32x4d",
        "resnest",
        resnest_resnet([3, 4, 6, 3], radix=0, groups=32, bottleneck_width=4),
        "resnext50_32x4d",
        SAME,
        "",
        "",
        "224: 0, 256: 0, 160: 0, train 64: 0",
    ),
    Implementation(
        "resnest resnext101_32x8d",
        "resnest",
        resnest_resnet([3, 4, 23, 3], radix=0, groups=32, bottleneck_width=8),
        "resnext101_32x8d",
        SAME,
        "",
        "",
        "224: 0, 160: 0, train 64: 0",
    ),
    Implementation(
        "resnest wide_resnet50_2",
        "resnest",
        resnest_resnet([3, 4, 6, 3], radix=0, bottleneck_width=128),
        "wide_resnet50_2",
        SAME,
        "",
        "",
        "224: 0, 160: 0, train 64: 0",
    ),
    Implementation(
        "resnest resnet50 final_drop",
        "resnest",
        resnest_resnet([3, 4, 6, 3], radix=0, final_drop=0.2),
        "resnet50",
        SAME,
        "",
        "dropout 0.2 before fc",
        "224: 0, 256: 0, 160: 0, train 64: 0",
    ),
    Implementation(
        "resnest resnet50 last_gamma",
        "resnest",
        resnest_resnet([3, 4, 6, 3], radix=0, last_gamma=True),
        "resnet50",
        SAME,
        "",
        "",
        "224: 0, 256: 0, 160: 0, train 64: 0",
    ),
    Implementation(
        "resnest resnet50 deep stem",
        "resnest",
        resnest_resnet([3, 4, 6, 3], radix=0, deep_stem=True, stem_width=32),
        "resnet50",
        DIFFERENT,
        "",
        "stem of three 3x3",
        "25,576,264 parameters, the arch has 25,557,032",
    ),
    Implementation(
        "resnest resnet50 avg_down",
        "resnest",
        resnest_resnet([3, 4, 6, 3], radix=0, avg_down=True),
        "resnet50",
        DIFFERENT,
        "",
        "average pool before the 1x1 of a shortcut; as many parameters",
        "224: 4.2e-02, 256: 4.9e-02, 160: 4.8e-02",
    ),
    Implementation(
        "resnest resnet50 avd",
        "resnest",
        resnest_resnet([3, 4, 6, 3], radix=0, avd=True),
        "resnet50",
        DIFFERENT,
        "",
        "average pool for the stride of the 3x3; as many parameters",
        "224: 9.0e-02, 256: 8.2e-02, 160: 1.1e-01",
    ),
    Implementation(
        "resnest resnet50 dilated",
        "resnest",
        resnest_resnet([3, 4, 6, 3], radix=0, dilated=True),
        "resnet50",
        DIFFERENT,
        "",
        "dilated stages for strides; as many parameters",
        "224: 3.8e-02, 256: 3.3e-02, 160: 5.5e-02",
    ),
    Implementation(
        "resnest resnet50 radix=1",
        "resnest",
        resnest_resnet([3, 4, 6, 3], radix=1),
        "resnet50",
        DIFFERENT,
        "",
        "split attention",
        "26,198,664 parameters, the arch has 25,557,032",
    ),
    Implementation(
        "resnest resnest50",
        "resnest",
        resnest_resnest50,
        "resnet50",
        DIFFERENT,
        "",
        "split attention",
        "27,483,240 parameters, the arch has 25,557,032",
    ),
    # torchvision
    in_torchvision("resnet18", "resnet18", SAME, "224: 0, 256: 0, 160: 0, train 64: 0"),
    in_torchvision("resnet34", "resnet34", SAME, "224: 0, 256: 0, 160: 0, train 64: 0"),
    in_torchvision("resnet50", "resnet50", SAME, "224: 0, 256: 0, 160: 0, train 64: 0"),
    in_torchvision("resnet101", "resnet101", SAME, "224: 0, 160: 0, train 64: 0"),
    in_torchvision("resnet152", "resnet152", SAME, "224: 0, 160: 0, train 64: 0"),
    in_torchvision("resnext50_32x4d", "resnext50_32x4d", SAME, "224: 0, 256: 0, 160: 0, train 64: 0"),
    in_torchvision("resnext101_32x8d", "resnext101_32x8d", SAME, "224: 0, 160: 0, train 64: 0"),
    in_torchvision("resnext101_64x4d", "resnext101_64x4d", SAME, "224: 0, 160: 0, train 64: 0"),
    in_torchvision("wide_resnet50_2", "wide_resnet50_2", SAME, "224: 0, 160: 0, train 64: 0"),
    in_torchvision("wide_resnet101_2", "wide_resnet101_2", SAME, "224: 0, 160: 0, train 64: 0"),
    in_torchvision("vgg11", "vgg11", SAME, "224: 0, 256: 0, 160: 0, train 64: 0"),
    in_torchvision("vgg11_bn", "vgg11_bn", SAME, "224: 0, 256: 0, 160: 0, train 64: 0"),
    in_torchvision("vgg13", "vgg13", SAME, "224: 0, 256: 0, 160: 0, train 64: 0"),
    in_torchvision("vgg13_bn", "vgg13_bn", SAME, "224: 0, 256: 0, 160: 0, train 64: 0"),
    in_torchvision("vgg16", "vgg16", SAME, "224: 0, 256: 0, 160: 0, train 64: 0"),
    in_torchvision("vgg16_bn", "vgg16_bn", SAME, "224: 0, 256: 0, 160: 0, train 64: 0"),
    in_torchvision("vgg19", "vgg19", SAME, "224: 0, 256: 0, 160: 0, train 64: 0"),
    in_torchvision("vgg19_bn", "vgg19_bn", SAME, "224: 0, 256: 0, 160: 0, train 64: 0"),
    in_torchvision("quantization.resnet18", "resnet18", SAME, "224: 0, 256: 0, 160: 0, train 64: 0", quantize=False),
    in_torchvision("quantization.resnet50", "resnet50", SAME, "224: 0, 256: 0, 160: 0, train 64: 0", quantize=False),
    in_torchvision(
        "quantization.resnext101_32x8d", "resnext101_32x8d", SAME, "224: 0, 160: 0, train 64: 0", quantize=False
    ),
    in_torchvision(
        "quantization.resnext101_64x4d", "resnext101_64x4d", SAME, "224: 0, 160: 0, train 64: 0", quantize=False
    ),
    in_torchvision(
        "resnet50", "resnet50", SAME, "224: 0, 256: 0, 160: 0, train 64: 0", LAST_ZERO, zero_init_residual=True
    ),
    in_torchvision(
        "vgg16", "vgg16", SAME, "224: 0, 256: 0, 160: 0, train 64: 0", "dropout 0.0 instead of 0.5", dropout=0.0
    ),
    Implementation(
        "torchvision resnet50 feature_extractor",
        "torchvision",
        torchvision_feature_extractor,
        "resnet50",
        SAME,
        "",
        "",
        "224: 0, 256: 0, 160: 0, train 64: 0",
    ),
    Implementation(
        "torchvision resnet50 FrozenBatchNorm2d",
        "torchvision",
        torchvision_frozen_norm,
        "resnet50",
        DIFFERENT,
        "",
        "norms are buffers: the same in eval, not in train",
        "25,503,912 parameters, the arch has 25,557,032; 224: 6e-16, 256: 5e-16, 160: 7e-16, train 64: differs",
    ),
    in_torchvision(
        "resnet50",
        "resnet50",
        DIFFERENT,
        "224: 3.4e-02, 256: 3.1e-02, 160: 5.3e-02",
        "dilated stages for strides; as many parameters",
        replace_stride_with_dilation=[False, False, True],
    ),
    Implementation(
        "torchvision resnet50 GroupNorm",
        "torchvision",
        torchvision_group_norm,
        "resnet50",
        DIFFERENT,
        "",
        "group norm; as many parameters as resnet50",
        "25,557,032 parameters as the arch, other tensors",
    ),
    in_torchvision(
        "segmentation.fcn_resnet50",
        "resnet50",
        DIFFERENT,
        "32,957,013 parameters, the arch has 25,557,032",
        "segmentation: dilated, no pool",
        weights=None,
        weights_backbone=None,
    ),
    in_torchvision(
        "segmentation.deeplabv3_resnet101",
        "resnet101",
        DIFFERENT,
        "58,630,997 parameters, the arch has 44,549,160",
        "segmentation: dilated, no pool",
        weights=None,
        weights_backbone=None,
    ),
    Implementation(
        "torchvision resnet_fpn_backbone",
        "torchvision",
        torchvision_fpn_backbone,
        "resnet50",
        DIFFERENT,
        "",
        "frozen norms and a feature pyramid",
        "26,799,296 parameters, the arch has 25,557,032",
    ),
    in_torchvision(
        "detection.fasterrcnn_resnet50_fpn",
        "resnet50",
        DIFFERENT,
        "41,808,406 parameters, the arch has 25,557,032",
        "detection",
        weights=None,
        weights_backbone=None,
    ),
    in_torchvision(
        "detection.ssd300_vgg16",
        "vgg16",
        DIFFERENT,
        "35,641,826 parameters, the arch has 138,357,544",
        "detection",
        weights=None,
        weights_backbone=None,
    ),
    in_torchvision(
        "video.r3d_18",
        "resnet18",
        DIFFERENT,
        "33,371,472 parameters, the arch has 11,689,512",
        "video, 3-d convolutions",
    ),
    Implementation(
        "torchvision vgg16 features",
        "torchvision",
        torchvision_vgg16_features,
        "vgg16",
        DIFFERENT,
        "",
        "no classifier",
        "14,714,688 parameters, the arch has 138,357,544",
    ),
    in_torchvision("alexnet", "vgg11", DIFFERENT, "61,100,840 parameters, the arch has 132,863,336", "AlexNet"),
)
