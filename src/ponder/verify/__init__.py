"""What decides whether an answer is right: parsing, equivalence, the model's own judgement."""
