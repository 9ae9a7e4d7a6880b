"""The words of spec files: steps, metrics, verdicts, axes of benchmarks, ways to initialise."""

from __future__ import annotations

from rv_check.ops.op import OPS, Op

JOINS = ("sum", "concat", "product")
STEP_WORDS = (*JOINS, "shape", "repeat", "steps", "index", "if", "then", "else", "identity", "none")
METRICS = (
    "params", "mparams", "macs", "mmacs", "gmacs", "mactivations", "depth", "receptive_field",
    "top1", "top5", "top1_error", "top5_error",
)  # fmt: skip
WHOLE_METRICS = ("params", "macs", "depth")
VERDICTS = ("truncated", "wrong")
WEIGHTS = {  # the metrics that torchvision states of an entry of weights, each with where it does
    "params": 'meta["num_params"]',
    "gmacs": 'meta["_ops"]',
    "top1": 'meta["_metrics"]["ImageNet-1K"]["acc@1"]',
    "top5": 'meta["_metrics"]["ImageNet-1K"]["acc@5"]',
}
PROVIDERS = ("torchvision.models",)  # where references are built; `modules.reference` has a class for each
CONTRACT_KEYS = ("shape", "params", "macs", "receptive_field")
PROPERTIES = (  # what is asked of a block that exists as a class; `blocks.properties` has a function for each
    "shape", "illegal", "cost", "residual", "shortcut", "highway", "gradients", "finite", "double_backward",
    "input", "statistics", "deterministic", "batch_independence", "permutation", "channels_last", "non_contiguous",
    "dtype", "device", "copies", "export", "scale", "compile",
)  # fmt: skip
BUDGETS = ("params", "macs", "activations", "receptive_field")
BENCH_AXES: dict[str, tuple[str, ...]] = {  # how cases differ, each axis with its words; `bench.workloads` obeys them
    "device": ("cpu", "cuda"),
    "dtype": ("float32", "tf32", "float16", "bfloat16", "autocast"),
    "format": ("contiguous", "channels_last"),
    "mode": ("eager", "compile", "graph"),
    "pass": ("inference", "forward", "backward", "step"),
}
CUDA_ONLY = {"dtype": "tf32", "mode": "graph"}
OUT_OF_SCOPE = {"inputs": "several inputs", "outputs": "several outputs"}
MAX_NAME = 100  # characters: a name may stand in a million rounds


# How the parameters of an op may start: each method with its required arguments, then its optional ones. What is left
# out keeps torch's own start. `mode` and `nonlinearity` have no default: torch's are not what the papers used.
INIT_METHODS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "default": ((), ("bias",)),
    "constant": (("weight", "bias"), ()),
    "normal": (("mean", "std"), ("bias",)),
    "uniform": (("bound",), ("bias",)),
    "kaiming_normal": (("mode", "nonlinearity"), ("bias",)),
    "kaiming_uniform": (("mode", "nonlinearity"), ("bias",)),
}
INIT_OPS = tuple(name for name, cls in OPS.items() if cls.params is not Op.params)
INIT_WORDS = {"mode": ("fan_in", "fan_out"), "nonlinearity": ("linear", "relu", "leaky_relu", "tanh", "sigmoid")}
