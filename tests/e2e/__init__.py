"""The whole gateway as one, with real applications at its ends."""
