"""What a model server complains of: its own words, what they mean, and who may read them."""
