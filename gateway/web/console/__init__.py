"""The pages for people: events, deliveries, sends, opt-outs, the configuration, and the test forms."""
