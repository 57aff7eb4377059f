"""How a question is answered: routed, then by one agent or by the team."""
