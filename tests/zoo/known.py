"""What is known to be wrong: what is mended goes from here, and what is added to it is a mistake."""

KNOWN = {  # the cells of kinds
    ("LSTM", "memory"),
    ("GRU", "memory"),
    ("bidirectional LSTM", "memory"),
    ("GRU of two layers", "memory"),
    ("LSTMCell in a loop", "memory"),
    ("GRUCell in a loop", "memory"),
    ("encoder and decoder", "memory"),
    ("detection with suppression", "memory"),
    ("deformable convolution", "memory"),
    ("every norm", "memory"),
    ("spectrogram", "true refactor"),
    ("in bfloat16", "memory"),
    ("spectral norm", "memory"),
    ("fake quantisation", "true refactor"),
    ("autocast", "true refactor"),
    ("autocast", "memory"),
}

PASSES: set[str] = set()  # the mutants that pass, and of which nothing is said
