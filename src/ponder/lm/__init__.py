"""Language models as sources of distributions."""
