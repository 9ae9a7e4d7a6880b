"""The receptive fields that google-research/receptive_field prints, against those of archs of ours."""

from __future__ import annotations

from dataclasses import dataclass

from rv_check.archs.arch import Arch
from rv_check.archs.load import load
from rv_check.archs.receptive_field import ReceptiveField
from rv_check.errors import RvCheckError
from rv_check.language.files import shipped_folder

PUBLISHER = "google-research/receptive_field"
STUDY = "studies/tf_slim.yaml"
WHY = (
    "In TF-slim and in the paper's ResNet every 3x3 of a stage slides over the map that the stage gives, the stride\n"
    "lying before it: in the last unit of the stage before, or in a 1x1. In torchvision's v1.5 the first 3x3 of a\n"
    "stage has the stride itself and slides over the map before: each reaches 2*jump less, 2*(4+8+16) = 56 pixels in\n"
    "all. TF-slim's pool pads 0 where 'SAME' needs one pixel (224), 1 where it needs two (321): 2 pixels of padding."
)


@dataclass(frozen=True)
class Against:
    """A published field and that of an arch of ours."""

    network: str
    published: str
    source: str
    arch: str
    what: str
    field: ReceptiveField

    @property
    def is_same(self) -> bool:
        """Whether it is the published one in size, stride and padding."""
        return str(self.field) == self.published


def compare_published(study: str | None = None) -> list[Against]:
    """What google-research/receptive_field prints, against TF-slim's networks, the paper's and torchvision's.

    The printed fields are those of the specs. Raises: SpecError.
    """
    path = study or str(shipped_folder() / STUDY)
    found = []
    for network, depth, slim in (
        ("resnet_v1_50", "50", True),
        ("resnet_v1_101", "101", True),
        ("resnet_v1_152", "152", True),
        ("resnet_v1_200", "200", True),
        ("vgg_16", "", False),
    ):
        first = f"{path}::{network}" if slim else "vgg16"
        printed, source = _printed(load(first))
        others = [(first, "TF-slim, stride in the last unit of a stage" if slim else "torchvision")]
        if slim:
            others += [(f"{path}::{network}_at_321", "the same at 321 pixels")]
            others += [(f"resnet{depth}_v1", "the paper, stride in the first 1x1")] if depth != "200" else []
            own = "resnet152(depths=[3, 24, 36, 3])" if depth == "200" else f"resnet{depth}"
            others += [(own, "torchvision v1.5, stride in the 3x3")]
        for name, what in others:
            arch = load(name)
            found.append(Against(network, printed, source, arch.name, what, arch.receptive_field))
    return found


def _printed(arch: Arch) -> tuple[str, str]:
    for entry in arch.entry.published:
        if entry.metric == "receptive_field" and entry.source.startswith(PUBLISHER):
            return entry.printed, entry.source
    raise RvCheckError(f"{arch.name} has no published receptive field of {PUBLISHER}")
