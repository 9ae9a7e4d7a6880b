"""Spec files, candidates, blocks and claims as tests of pytest."""
