"""Training: texts and instruction rows come in, adapters or weights go out, on Transformers, TRL and PEFT.

    rows       prompts with the answers to learn, from JSONL        corpora   plain text, split and cut into blocks
    encoding   rows as token ids, and which of them count           losses    mean loss per token, row by row
    adapters   LoRA by settings, with its refusals                  finetune  one resumable fine-tuning run
    meters     seconds and memory of each optimizer step               methods   ways to train an update, by lazy names
    batching   rows of another kind, with their loss
    texts      documents from folders, files or Python itself       packed_corpus   a tokenizer, packed and held-out blocks
    pretrain   one resumable pre-training run                       checkpoints     what both kinds of run resume from
    tuning     the same by settings: a method's name, its adapter and its merged model

A method plugs in as a Transformers `TrainerCallback`: at step boundaries, with its state in the checkpoint. A home that
wants to train says `tune(..., TuneConfig(method="plora", ...))` and imports no other home.
"""
