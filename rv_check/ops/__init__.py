"""What an operation is: arguments, shape, parameters, multiply-adds, window. No torch."""

from importlib import import_module

# They come with the package, so that every op is registered wherever any of it is imported; in the order of listings.
FAMILIES = ("convolutions", "norms", "activations", "pools", "shapes", "dropouts", "padding")
for _family in FAMILIES:
    import_module(f"rv_check.ops.{_family}")
