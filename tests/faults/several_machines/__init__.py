"""Several machines: PostgreSQL with a standby, two webs, two workers, each on a host of its own."""
