"""Matches texts to keywords, opt-out words and templates. Pure."""
