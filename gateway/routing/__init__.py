"""Message → endpoints → the bodies that they get."""
