"""Outbound texts: a legacy call becomes texts that are owed to CarrierX; status posts; replies."""
