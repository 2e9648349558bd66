"""L2: models in memory: loading them, running them with a cache that rolls back, sampling, scoring. Needs torch."""
