"""What is known to be wrong: what is mended goes from here, and what is added to it is a mistake."""

KNOWN = {  # the cells of kinds
    ("spectrogram", "true refactor"),
    ("fake quantisation", "true refactor"),
}

PASSES: set[str] = set()  # the mutants that pass, and of which nothing is said
