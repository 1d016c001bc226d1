"""The study of gates: what their values are tied to, and what happens when they are changed."""
