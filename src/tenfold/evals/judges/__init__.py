"""Judges that say how sure they are: a cascade of stages from cheap to dear, calibrated on labelled answers.

judgement   what a judge says, and the band in which a stage passes on
cascade     stages one after the other until one is sure
linear      TF-IDF and flags in a logistic model, applied from JSON; `fitting` makes one with scikit-learn
grader      a chat model that chooses between two letters, asked in both orders
record      how a judge agrees with labels; bands chosen so that what a stage settles is right often enough
left_out    evaluation on groups that the fit has not seen
"""
