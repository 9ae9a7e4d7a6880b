"""Printed statements about networks, and the verdict on each."""
