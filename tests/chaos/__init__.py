"""A storm over a real fleet: seeded faults in Redis, the workers, the database, the model and the clients, and rules that hold anyway."""
