"""HTTP to addresses that may be called: many posts on one thread, by libcurl. Knows nothing of the gateway."""
