"""L1: what stays on disk: runs that can be resumed, and the models and data sets that we know by name."""
