"""A small byte-level tokenizer with a chat template, trained on a few sentences: real merges without a download."""

from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers import models as tokenizer_models
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

BEGIN, END = "<|begin|>", "<|end|>"
SENTENCES = [
    "user: what is the answer? assistant: the answer is A, or B, or C\n",
    '{"name": "the answer", "size": 12, "is": true}\n',
]
TEMPLATE = (
    "{% for message in messages %}<|begin|>{{ message['role'] }}\n{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|begin|>assistant\n{% endif %}"
)


def tiny_tokenizer(*, template: str | None = TEMPLATE) -> PreTrainedTokenizerBase:
    """All 256 bytes, two special tokens (0 begins, 1 ends), and a few dozen merges."""
    tokenizer = Tokenizer(tokenizer_models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=[BEGIN, END], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES * 4, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BEGIN, eos_token=END)
    fast.chat_template = template
    return fast
