"""`gateway serve`: web and delivery in one, under a supervisor; `gateway web` and `gateway worker`: the two halves."""
