"""Runs that show why residual learning works."""
