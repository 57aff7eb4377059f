"""Storms over a real fleet: random faults from a seed, and rules that must hold anyway."""
