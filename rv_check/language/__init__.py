"""A spec file, from text to checked definitions. No torch."""
