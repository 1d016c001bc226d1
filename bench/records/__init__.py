"""What was asked and what came out: specifications, records and the folder that holds them."""
