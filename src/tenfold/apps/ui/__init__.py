"""The web page of `tenfold ui`: chat with guessed tokens shown, runs with their reports, and runs compared.

pages      the routes        comparing  two runs as tables side by side
runs       what a run shows  launching  the server with its pages
"""
