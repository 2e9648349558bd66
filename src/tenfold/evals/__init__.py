"""L3: how results are judged: statistics, audits of data sets, parsing of answers, judges. Never imports torch."""
