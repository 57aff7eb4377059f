"""What a model server refuses of a request: the part, the change, and how long that is known."""
