"""The server: OpenAI's HTTP interface in front of the speculative engine, for many clients at a time.

settings   what can be set              app       routes behind the gate, the engine's life
gate       keys, sizes, encodings       routes    OpenAI's routes, health, metrics
bodies     what clients send            replies   what they get        failures  refusals in OpenAI's form
prompts    from a body to requests      service   what the routes share
engine     one thread decodes for all   budget    how guesses are shared among rows
answers    pieces as they come          texts     from tokens to text, stop strings cut off
forms      chunks and whole replies     streams   server-sent events
serving    from settings to a process   metrics   counters for Prometheus
guarded    a guard over questions and answers
"""
