"""What meters measure with: dispatch modes, traces, trackers. They import torch; the meters themselves do not."""
