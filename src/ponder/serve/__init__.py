"""Ponder behind an OpenAI-compatible address."""
