"""L4: the ten systems, one home each. Homes never import each other; `catalogue` lists them."""
