"""Multiply-adds by every counter, memory, and the roofline. No torch."""
