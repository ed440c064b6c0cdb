"""Inbound callbacks: each becomes an event on disk, and deliveries that are owed."""
