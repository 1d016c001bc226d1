"""What methods are built from: the contract, parts, gates, sites, attention and the bridge to peft."""
