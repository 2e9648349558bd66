"""Judges that say how sure they are: a cascade of cheap to dear stages, calibrated on labelled answers."""
