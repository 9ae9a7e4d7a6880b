"""Checkpoints: load them, measure their accuracy, give them a new head, fine-tune."""
