"""Proof that speculation keeps the target's own output, and that the proof would notice if it did not.

certify_sampling    the law of the text, by enumeration, for every verifier; nine mutants must be found out
check_frequencies   the same for the loop as it runs, by a chi-square test on a tiny model
certify_greedy      greedy texts, token for token, for any model and drafters
"""

from tenfold.systems.specdec.certificate.frequencies import ChiSquare, FrequencySettings, check_frequencies
from tenfold.systems.specdec.certificate.greedy import GreedyCertificate, certify_greedy
from tenfold.systems.specdec.certificate.sampling import CertifySettings, SamplingCertificate, certify_sampling

__all__ = [
    "CertifySettings",
    "ChiSquare",
    "FrequencySettings",
    "GreedyCertificate",
    "SamplingCertificate",
    "certify_greedy",
    "certify_sampling",
    "check_frequencies",
]
