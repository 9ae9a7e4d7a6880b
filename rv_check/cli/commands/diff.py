"""The command `rv-check diff`: the differences of two archs, two modules, or one of each."""

from __future__ import annotations

import argparse
import contextlib
import sys

from rv_check.archs.load import load, parse_size
from rv_check.cli.common import judge_of, progress, show_module, status
from rv_check.errors import RvCheckError
from rv_check.modules.named import is_module_name, load_module, parse_arguments


def diff_command(options: argparse.Namespace) -> int:
    """Two archs without torch; two modules, or one of each, with it."""
    modules = [is_module_name(name) for name in (options.a, options.b)]
    if options.level == "spec":
        raise RvCheckError("--level spec compares nothing", expected="--level structure or numbers, or none")
    if options.input is not None and not all(modules):
        raise RvCheckError("--input is for two modules: an arch has an input of its own")
    if not any(modules):
        from rv_check.checks.of_two import compare_archs

        result = compare_archs(load(options.a), load(options.b))
        show_module(result, options)
        return status(result)
    arguments = parse_arguments(options.kwargs)
    chosen = [load(name) for name, is_module in zip((options.a, options.b), modules, strict=True) if not is_module]
    size = parse_size(options.input) if options.input else (3, 224, 224)
    judge = judge_of(options, chosen, tell=False)
    with contextlib.redirect_stdout(sys.stderr):
        from rv_check.checks.of_module import check
        from rv_check.checks.of_two import compare_modules

        loaded = [load_module(name, arguments).module for name in (options.a, options.b) if is_module_name(name)]
        if chosen:
            name = options.b if modules[1] else options.a
            result = check(loaded[0], chosen[0], options.device, level=options.level, judge=judge, name=name)
        else:
            names = (options.b, options.a)
            result = compare_modules(
                loaded[1], loaded[0], size, options.device, level=options.level, judge=judge, names=names
            )
    progress("")
    show_module(result, options)
    return status(result)
