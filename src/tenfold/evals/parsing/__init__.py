"""From a model's answer to the letter it chooses, or to the reason why none can be read. It never guesses.

`parse_letter` tries its rules in order and the first that decides wins: structured replies (`structured`), the last explicit
statement (`statements`), whole-reply forms, option text and ordinals (`reading`). Letters in a rejecting clause are
struck out; two survivors are `ambiguous`.
"""

from tenfold.evals.parsing.reading import Parse, parse_letter

__all__ = ["Parse", "parse_letter"]
