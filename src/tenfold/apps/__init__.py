"""L5: what people touch: the command line, recipes, the report."""
