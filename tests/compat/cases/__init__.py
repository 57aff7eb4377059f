"""The bank of cases, by section. HANDED are those of the issue, FURTHER are others of its kinds."""
