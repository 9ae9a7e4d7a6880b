"""What a unit sees: by formula, by gradient, in effect, as published."""
