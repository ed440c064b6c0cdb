"""Tests: golden vectors, one file for each module, laws, and the whole gateway against real applications."""
