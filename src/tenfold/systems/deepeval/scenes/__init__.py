"""Sixty-four small scenes of our own (CC0): sixteen situations, each with the four combinations of two facets.

`album` holds the scenes with their texts and draws them; `situations` paints; `texts.jsonl` says what each shows and means.
"""
