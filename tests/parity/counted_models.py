"""The models of torchvision, timm and transformers, and what three counters make of one image: ours and two others.

One of the two is `independent_counts`, the other torch's `FlopCounterMode`, halved. A model is looked at in eval mode
without gradients, its weights by chance; on meta, and on real tensors where it does not run on meta.

`docs/tables.py --measure counts` writes docs/results/counts.json.
"""

from __future__ import annotations

import copy
import importlib
import re
import warnings
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from rv_check.costs.operations import operations
from rv_check.errors import RvCheckError
from rv_check.graphs.builder import Form
from rv_check.graphs.network import At
from rv_check.modules.generic_point import INPUT
from rv_check.modules.observe import Subject
from rv_check.ops.op import Shape
from tests.parity.independent_counts import Products, UnknownOperator


@dataclass(frozen=True)
class Model:
    """A model as it is counted: how to build it, and its input."""

    name: str
    build: Callable[[], nn.Module]
    x: Shape
    on_meta: bool = True  # whether it can be built there


@dataclass(frozen=True)
class Counts:
    """Multiply-adds of one image. Both `macs`, by rv_check, and `independent` are None where the counter refuses.

    `refused`: the operators that rv_check does not count; `of`: the independent count by operator.
    """

    macs: int | None
    independent: int | None
    torch: int
    refused: tuple[str, ...] = ()
    of: Mapping[str, int] = field(default_factory=dict)

    @property
    def unseen_by_torch(self) -> dict[str, int]:
        """What torch's counter has no formula for, by operator."""
        return {name: count for name, count in self.of.items() if name in UNKNOWN_TO_TORCH and count}


UNKNOWN_TO_TORCH = {  # products that its counter adds as nothing
    *("aten::_scaled_dot_product_flash_attention_for_cpu", "aten::_grouped_mm", "aten::mkldnn_rnn_layer"),
    *("aten::mv", "aten::addmv", "aten::dot", "aten::vdot", "aten::addbmm", "torchvision::deform_conv2d"),
}


def counts_of(model: Model) -> Counts:
    """What the three make of it. Raises: what the model raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the packages' own
        torch.manual_seed(0)
        with torch.device("meta" if model.on_meta else "cpu"):
            module = model.build().eval().requires_grad_(requires_grad=False)
        macs, refused = _ours(module, model.x)
        # On the image that rv_check gives it: how many boxes a detector finds, say, depends on it.
        image = torch.empty((1, *model.x)).uniform_(-1, 1, generator=torch.Generator().manual_seed(INPUT))
        try:
            on_meta = copy.deepcopy(module).to("meta")
            products = _products(on_meta, image.to("meta"))
            module, image = on_meta, image.to("meta")
        except (RuntimeError, NotImplementedError):  # it asks for values
            products = _products(module, image)
        with torch.no_grad(), torch.random.fork_rng(devices=[]), FlopCounterMode(display=False) as counter:
            module(image)
    independent = None if products.is_stopped else products.total
    return Counts(macs, independent, counter.get_total_flops() // 2, refused, dict(products.of))


def _products(module: nn.Module, image: Tensor) -> Products:
    products = Products()
    with torch.no_grad(), torch.random.fork_rng(devices=[]), suppress(UnknownOperator), products:
        module(image)
    return products


def _ours(module: nn.Module, x: Shape) -> tuple[int | None, tuple[str, ...]]:
    graph = Subject(module).observe(At(x, batch=1), Form.AS_RUN)
    try:
        return sum(one.macs for one in operations(graph)), ()
    except RvCheckError as error:
        return None, tuple(sorted(set(re.findall(r"no rule counts the operation '([^']+)'", str(error)))))


# torchvision: all that it lists


class TwoImages(nn.Module):
    """A model of the flow from one image to another, with both in one."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Any:
        """(N, 6, H, W) -> what the model gives."""
        return self.model(x[:, :3], x[:, 3:])


def of_torchvision(name: str) -> Model:
    """A model that torchvision lists, at the smallest usual input."""
    kind = torchvision.models.get_model_builder(name).__module__.split(".")[2]
    options: dict[str, Any] = {"weights": None}
    if kind in ("detection", "segmentation"):
        options["weights_backbone"] = None
    if kind == "detection" and not name.startswith("ssd"):
        options |= {"min_size": 224, "max_size": 224}  # by themselves they make every image larger
    if name.endswith(("googlenet", "inception_v3")):
        options["init_weights"] = False
    x = {"video": (3, 16, 112, 112), "optical_flow": (6, 128, 128)}.get(kind, (3, 224, 224))
    if name.startswith(("mvit", "swin3d", "s3d")):
        x = (3, 16, 224, 224)

    def build() -> nn.Module:
        module = torchvision.models.get_model(name, **options)
        return TwoImages(module) if kind == "optical_flow" else module

    # A RegNet reads numbers of its plan from tensors, a detector boxes.
    return Model(name, build, x, on_meta=kind != "detection" and not name.startswith("regnet"))


# timm: one of each file of models, and a second one of those that have many

TIMM = Path(__file__).with_name("timm_models.txt").read_text(encoding="utf-8").split()


def of_timm(name: str) -> Model:
    """A model of timm's registry, at its own input."""
    timm = importlib.import_module("timm")
    config = timm.get_pretrained_cfg(name)
    return Model(name, lambda: timm.create_model(name), tuple(config.input_size) if config else (3, 224, 224))


# transformers: small ones of each architecture


class Named(nn.Module):
    """A model whose input goes by a name."""

    def __init__(self, model: nn.Module, argument: str):
        super().__init__()
        self.model, self.argument = model, argument

    def forward(self, x: Tensor) -> Any:
        """What the model makes of it."""
        return self.model(**{self.argument: x})


@dataclass(frozen=True)
class Small:
    """How a small model of transformers is built: its input, by what name that goes, options of its configuration."""

    x: Shape
    argument: str
    options: Mapping[str, Any] = field(default_factory=dict)


SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 50}
SMALL_GROUPED = SMALL | {"num_key_value_heads": 2}
SMALL_VISION = {name: value for name, value in SMALL.items() if name != "vocab_size"} | {
    "image_size": 32,
    "patch_size": 8,
}
SMALL_SPEECH = SMALL | {
    "conv_dim": [16, 16],
    "conv_stride": [5, 2],
    "conv_kernel": [10, 3],
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
}
TEXT, IMAGE, SOUND = "inputs_embeds", "pixel_values", "input_values"
TRANSFORMERS: dict[str, Small] = {
    "BertModel": Small((12, 32), TEXT, SMALL),
    "RobertaModel": Small((12, 32), TEXT, SMALL),
    "AlbertModel": Small((12, 32), TEXT, SMALL | {"embedding_size": 32}),
    "DistilBertModel": Small(
        (12, 32), TEXT, {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "vocab_size": 50}
    ),
    "ElectraModel": Small((12, 32), TEXT, SMALL | {"embedding_size": 32}),
    "DebertaV2Model": Small(
        (12, 32), TEXT, SMALL | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8}
    ),
    "DebertaModel": Small((12, 32), TEXT, SMALL),
    "MPNetModel": Small((12, 32), TEXT, SMALL),
    "XLNetModel": Small((12, 32), TEXT, {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64, "vocab_size": 50}),
    "FunnelModel": Small(
        (12, 32),
        TEXT,
        {
            "d_model": 32,
            "n_head": 4,
            "d_head": 8,
            "d_inner": 64,
            "block_sizes": [1, 1],
            "vocab_size": 50,
            "num_decoder_layers": 1,
        },
    ),
    "LongformerModel": Small((16, 32), TEXT, SMALL | {"attention_window": 4}),
    "BigBirdModel": Small((12, 32), TEXT, SMALL | {"attention_type": "original_full"}),
    "ModernBertModel": Small(
        (12, 32),
        TEXT,
        SMALL | {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2},
    ),
    "RoFormerModel": Small((12, 32), TEXT, SMALL | {"embedding_size": 32}),
    "SqueezeBertModel": Small(
        (12, 32),
        TEXT,
        SMALL
        | {
            "embedding_size": 32,
            "q_groups": 1,
            "k_groups": 1,
            "v_groups": 1,
            "post_attention_groups": 1,
            "intermediate_groups": 1,
            "output_groups": 1,
        },
    ),
    "FNetModel": Small((12, 32), TEXT, SMALL),
    "NystromformerModel": Small((12, 32), TEXT, SMALL | {"num_landmarks": 4, "segment_means_seq_len": 12}),
    "IBertModel": Small((12, 32), TEXT, SMALL),
    "GPT2Model": Small((12, 32), TEXT, {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 50}),
    "GPT2LMHeadModel": Small((12, 32), TEXT, {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 50}),
    "OPTModel": Small((12, 32), TEXT, SMALL | {"ffn_dim": 64, "word_embed_proj_dim": 32}),
    "GPTNeoXModel": Small((12, 32), TEXT, SMALL),
    "GPTNeoModel": Small(
        (12, 32),
        TEXT,
        {
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "vocab_size": 50,
        },
    ),
    "GPTJModel": Small((12, 32), TEXT, {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 50, "rotary_dim": 4}),
    "LlamaModel": Small((12, 32), TEXT, SMALL_GROUPED),
    "LlamaForCausalLM": Small((12, 32), TEXT, SMALL_GROUPED),
    "MistralModel": Small((12, 32), TEXT, SMALL_GROUPED),
    "MixtralModel": Small((12, 32), TEXT, SMALL_GROUPED | {"num_local_experts": 4}),
    "Qwen2Model": Small((12, 32), TEXT, SMALL_GROUPED),
    "Qwen3Model": Small((12, 32), TEXT, SMALL_GROUPED | {"head_dim": 8}),
    "Qwen3MoeModel": Small(
        (12, 32),
        TEXT,
        SMALL_GROUPED | {"head_dim": 8, "num_experts": 4, "moe_intermediate_size": 16, "num_experts_per_tok": 2},
    ),
    "Gemma2Model": Small((12, 32), TEXT, SMALL_GROUPED | {"head_dim": 8}),
    "PhiModel": Small((12, 32), TEXT, SMALL),
    "Phi3Model": Small((12, 32), TEXT, SMALL_GROUPED | {"pad_token_id": 0}),
    "FalconModel": Small((12, 32), TEXT, SMALL),
    "BloomModel": Small((12, 32), TEXT, {"hidden_size": 32, "n_layer": 2, "n_head": 4, "vocab_size": 50}),
    "StableLmModel": Small((12, 32), TEXT, SMALL_GROUPED),
    "OlmoModel": Small((12, 32), TEXT, SMALL_GROUPED),
    "CohereModel": Small((12, 32), TEXT, SMALL_GROUPED),
    "GraniteModel": Small((12, 32), TEXT, SMALL_GROUPED),
    "T5EncoderModel": Small(
        (12, 32), TEXT, {"d_model": 32, "num_layers": 2, "num_heads": 4, "d_kv": 8, "d_ff": 64, "vocab_size": 50}
    ),
    "MambaModel": Small((12, 32), TEXT, {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "vocab_size": 50}),
    "Mamba2Model": Small(
        (12, 32),
        TEXT,
        {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "state_size": 4,
            "vocab_size": 50,
            "num_heads": 8,
            "head_dim": 8,
            "n_groups": 2,
            "chunk_size": 4,
        },
    ),
    "RwkvModel": Small(
        (12, 32), TEXT, {"hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32, "vocab_size": 50}
    ),
    "ViTModel": Small((3, 32, 32), IMAGE, SMALL_VISION),
    "ViTForImageClassification": Small((3, 32, 32), IMAGE, SMALL_VISION),
    "DeiTModel": Small((3, 32, 32), IMAGE, SMALL_VISION),
    "BeitModel": Small((3, 32, 32), IMAGE, SMALL_VISION),
    "Dinov2Model": Small((3, 32, 32), IMAGE, SMALL_VISION | {"mlp_ratio": 2}),
    "SwinModel": Small(
        (3, 32, 32),
        IMAGE,
        {"image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4},
    ),
    "Swinv2Model": Small(
        (3, 32, 32),
        IMAGE,
        {"image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4},
    ),
    "ConvNextModel": Small((3, 32, 32), IMAGE, {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}),
    "ConvNextV2Model": Small((3, 32, 32), IMAGE, {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}),
    "ResNetForImageClassification": Small(
        (3, 32, 32), IMAGE, {"embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}
    ),
    "RegNetModel": Small(
        (3, 32, 32),
        IMAGE,
        {"embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "groups_width": 8},
    ),
    "MobileNetV1Model": Small((3, 32, 32), IMAGE, {"depth_multiplier": 0.25}),
    "MobileNetV2Model": Small((3, 32, 32), IMAGE, {"depth_multiplier": 0.35}),
    "MobileViTModel": Small((3, 64, 64), IMAGE, {"image_size": 64}),
    "MobileViTV2Model": Small((3, 64, 64), IMAGE, {"image_size": 64, "width_multiplier": 0.5}),
    "EfficientNetModel": Small((3, 64, 64), IMAGE, {"image_size": 64}),
    "SegformerForSemanticSegmentation": Small(
        (3, 64, 64),
        IMAGE,
        {
            "hidden_sizes": [8, 16, 24, 32],
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 2, 3, 4],
            "decoder_hidden_size": 16,
        },
    ),
    "PoolFormerModel": Small((3, 64, 64), IMAGE, {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}),
    "LevitModel": Small(
        (3, 64, 64),
        IMAGE,
        {
            "image_size": 64,
            "hidden_sizes": [16, 32, 48],
            "num_attention_heads": [2, 2, 2],
            "depths": [1, 1, 1],
            "key_dim": [8, 8, 8],
        },
    ),
    "PvtModel": Small(
        (3, 64, 64),
        IMAGE,
        {
            "image_size": 64,
            "hidden_sizes": [8, 16, 24, 32],
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 2, 3, 4],
        },
    ),
    "PvtV2Model": Small(
        (3, 64, 64),
        IMAGE,
        {
            "image_size": 64,
            "hidden_sizes": [8, 16, 24, 32],
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 2, 3, 4],
        },
    ),
    "FocalNetModel": Small(
        (3, 32, 32),
        IMAGE,
        {"image_size": 32, "embed_dim": 16, "depths": [1, 1], "focal_levels": [2, 2], "focal_windows": [3, 3]},
    ),
    "ViTMAEModel": Small((3, 32, 32), IMAGE, SMALL_VISION),
    "ViTMSNModel": Small((3, 32, 32), IMAGE, SMALL_VISION),
    "CLIPVisionModel": Small((3, 32, 32), IMAGE, SMALL_VISION),
    "SiglipVisionModel": Small((3, 32, 32), IMAGE, SMALL_VISION),
    "GLPNForDepthEstimation": Small(
        (3, 64, 64),
        IMAGE,
        {
            "hidden_sizes": [8, 16, 24, 32],
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 2, 3, 4],
            "decoder_hidden_size": 8,
        },
    ),
    "YolosModel": Small(
        (3, 32, 32),
        IMAGE,
        {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 64,
            "image_size": [32, 32],
            "patch_size": 8,
            "num_detection_tokens": 4,
        },
    ),
    "VideoMAEModel": Small((4, 3, 32, 32), IMAGE, SMALL_VISION | {"num_frames": 4}),
    "TimesformerModel": Small((4, 3, 32, 32), IMAGE, SMALL_VISION | {"num_frames": 4}),
    "VivitModel": Small((4, 3, 32, 32), IMAGE, SMALL_VISION | {"num_frames": 4, "tubelet_size": [2, 8, 8]}),
    "SamVisionModel": Small(
        (3, 64, 64),
        IMAGE,
        {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 64,
            "patch_size": 8,
            "output_channels": 16,
            "window_size": 4,
            "global_attn_indexes": [1],
        },
    ),
    "Wav2Vec2Model": Small((400,), SOUND, SMALL_SPEECH),
    "HubertModel": Small((400,), SOUND, SMALL_SPEECH),
    "WavLMModel": Small((400,), SOUND, SMALL_SPEECH),
    "ASTModel": Small(
        (64, 32),
        SOUND,
        {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 64,
            "max_length": 64,
            "num_mel_bins": 32,
        },
    ),
    "EncodecModel": Small(
        (1, 320), SOUND, {"num_filters": 4, "hidden_size": 16, "upsampling_ratios": [2, 2], "codebook_size": 16}
    ),
}


def of_transformers(name: str) -> Model:
    """A class of transformers with a small configuration. It runs on real tensors where it asks masks for values."""
    small = TRANSFORMERS[name]
    model_class = getattr(importlib.import_module("transformers"), name)

    def build() -> nn.Module:
        config = model_class.config_class(**small.options)
        config.use_cache = False
        return Named(model_class(config), small.argument)

    return Model(name, build, small.x, on_meta=False)


SOURCES: dict[str, tuple[Callable[[str], Model], Callable[[], list[str]]]] = {
    "torchvision": (of_torchvision, torchvision.models.list_models),
    "timm": (of_timm, lambda: list(TIMM)),
    "transformers": (of_transformers, lambda: list(TRANSFORMERS)),
}


def row_of(model: Model, found: Counts) -> dict[str, Any]:
    """What is recorded of a model in docs/results/counts.json."""
    totals = {"macs": found.macs, "independent": found.independent, "torch": found.torch}
    row = {"x": "x".join(map(str, model.x)), **totals}
    row |= {"refused": found.refused} if found.refused else {}
    return row | ({"unseen_by_torch": found.unseen_by_torch} if found.unseen_by_torch else {})


def rows(source: str, known: Container[str] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """What is recorded of each model of a source, but for those that are known."""
    of, names = SOURCES[source]
    for name in (name for name in names() if name not in known):
        model = of(name)
        yield name, row_of(model, counts_of(model))


def version(source: str) -> str:
    """The version of the package."""
    found: str = importlib.import_module(source).__version__
    return found.partition("+")[0]
