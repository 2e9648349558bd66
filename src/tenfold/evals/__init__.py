"""L3: how results are judged: statistics for paired measurements. Never imports torch."""
