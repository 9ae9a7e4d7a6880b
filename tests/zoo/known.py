"""What is known to be wrong: what is mended goes from here, and what is added to it is a mistake."""

KNOWN = {  # the cells of kinds
    ("LSTM", "memory"),
    ("GRU", "true refactor"),
    ("GRU", "memory"),
    ("bidirectional LSTM", "memory"),
    ("GRU of two layers", "memory"),
    ("LSTMCell in a loop", "memory"),
    ("GRUCell in a loop", "memory"),
    ("encoder and decoder", "memory"),
    ("detection with anchors", "true refactor"),
    ("detection with suppression", "true refactor"),
    ("detection with suppression", "memory"),
    ("spatial transformer", "true refactor"),
    ("deformable convolution", "memory"),
    ("every norm", "memory"),
    ("spectrogram", "true refactor"),
    ("attention along edges", "true refactor"),
    ("torch.export", "true refactor"),
    ("in bfloat16", "memory"),
    ("spectral norm", "memory"),
    ("low rank by hooks", "true refactor"),
    ("fake quantisation", "true refactor"),
    ("autocast", "true refactor"),
    ("autocast", "memory"),
    ("a buffer that moves", "true refactor"),
}

PASSES: set[str] = set()  # the mutants that pass, and of which nothing is said
