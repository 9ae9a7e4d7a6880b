"""Findings and archs as text, JSON, Markdown, and annotations of GitHub."""
