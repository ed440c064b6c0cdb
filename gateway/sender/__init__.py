"""Submits owed texts to CarrierX, once each, and finds out what became of those whose answer was lost."""
