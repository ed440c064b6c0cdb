"""`make bench`: what the gateway takes in and delivers, beside a bare Flask route and a hand-written relay."""
