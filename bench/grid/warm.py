"""What the fork server imports once, so that no run pays for it. Nothing else imports this."""

import gc

import scipy.stats
import sklearn.metrics
import torch._dynamo  # every optimizer asks for it at its first step
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, BertModel

import bench.grid.worker
import bench.run
from bench.meters.energy import warm_up

__all__ = ["AutoConfig", "AutoModelForSequenceClassification", "AutoTokenizer", "BertModel", "bench"]
__all__ += ["scipy", "sklearn", "torch"]

warm_up()  # the first energy tracker looks the machine up for two seconds; children inherit what it found
gc.freeze()  # the collector of a child need not look at what will never die
