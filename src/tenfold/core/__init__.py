"""L0: what every layer may use. Standard library and pydantic only; never torch."""
