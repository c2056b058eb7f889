"""What every route shares: keys, problems, idempotency, limits, threads."""
