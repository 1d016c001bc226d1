"""The commands of `bench`, one file each; the only place in the harness that may import reports."""
