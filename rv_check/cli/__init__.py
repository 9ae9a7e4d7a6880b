"""The command line `rv-check`."""
