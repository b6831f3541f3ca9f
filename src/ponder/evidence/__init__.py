"""What methods are worth on questions whose answers are known: run, compare, report."""

UNKNOWN = "not recorded"
