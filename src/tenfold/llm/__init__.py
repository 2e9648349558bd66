"""Chat with a model: one protocol, whoever answers (an endpoint, a script, or the project's own decoding in `nn.chat`).

What every home may rely on is in `chat`; nothing here imports torch or transformers.
"""
