"""The bridge to Inspect AI, which runs tasks, keeps logs and shows them.

    backends    models known to Inspect as `tenfold/<name>`, and how each is opened
    provider    the model provider over `ChatModel`; `messages` translates both ways
    generating  cached answers and log-probabilities of candidates, for solvers and scorers
    running     `run_tasks`, the quiet and resumable way to run tasks from a verb
    logs        `read_log`, samples of a log as plain records

Importing Inspect takes more than a second. `backends`, `running` and `logs` do so only when they are used; the other
modules are for tasks, which need it anyway.
"""
