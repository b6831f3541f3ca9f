"""What ``ponder check`` does: what methods claim is put to the test."""
