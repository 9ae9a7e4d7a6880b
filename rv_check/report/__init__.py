"""Findings, archs, costs and receptive fields as text, JSON, Markdown, and annotations of GitHub."""
