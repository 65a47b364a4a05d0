"""all-MiniLM-L6-v2 on numpy: the forward pass alone, without torch.

Tokens of a batch lie end to end in one matrix, so that no work goes into padding and a text's
vector does not depend on its neighbours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from knowledge.blas import use_one_thread
from knowledge.weights import Floats, load_weights

DIMENSION = 384
_LAYERS, _HEADS, _HEAD = 6, 12, 32
_MAX_TOKENS = 256  # what the model was trained to read
_ROWS = 64  # of the wide layer at a time: 400 kB, which stay in the core's cache
# Abramowitz and Stegun 7.1.26, |error| < 1.5e-7
_ERF = tuple(
    np.float32(c) for c in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
)
_ERF_P = np.float32(0.3275911)


@dataclass(frozen=True, slots=True)
class _Linear:
    weight: Floats
    bias: Floats

    def __call__(self, x: Floats) -> Floats:
        y: Floats = x @ self.weight
        y += self.bias
        return y


@dataclass(frozen=True, slots=True)
class _Norm:
    weight: Floats
    bias: Floats

    def __call__(self, x: Floats) -> Floats:
        """Normalise each row of `x`, in place."""
        x -= x.mean(axis=1, keepdims=True)
        variance = np.einsum("ij,ij->i", x, x)[:, None] / np.float32(DIMENSION)
        x /= np.sqrt(variance + np.float32(1e-12))
        x *= self.weight
        x += self.bias
        return x


@dataclass(frozen=True, slots=True)
class _Layer:
    attend: _Linear  # queries, keys and values of all heads, side by side
    gather: _Linear
    attended: _Norm
    widen: _Linear
    narrow: _Linear
    narrowed: _Norm

    def __call__(self, x: Floats, spans: Sequence[tuple[int, int]]) -> Floats:
        mixed = self.attend(x)
        heads = np.empty_like(x)
        for start, end in spans:
            heads[start:end] = _attention(mixed[start:end])
        y = self.gather(heads)
        y += x
        y = self.attended(y)
        z = np.empty_like(y)
        for row in range(0, len(y), _ROWS):
            z[row : row + _ROWS] = self.narrow(_gelu(self.widen(y[row : row + _ROWS])))
        z += y
        return self.narrowed(z)


class MiniLm:
    """Tokenizer and weights in memory."""

    def __init__(self, folder: Path) -> None:
        use_one_thread()
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(_MAX_TOKENS)
        self._tokenizer.no_padding()
        weights = load_weights(folder / "model.safetensors")
        self._words = weights["embeddings.word_embeddings.weight"]
        self._positions = (
            weights["embeddings.position_embeddings.weight"][:_MAX_TOKENS]
            + weights["embeddings.token_type_embeddings.weight"][0]
        )
        self._norm = _norm(weights, "embeddings.LayerNorm")
        self._layers = [_layer(weights, f"encoder.layer.{n}.") for n in range(_LAYERS)]

    def encode(self, texts: Sequence[str]) -> tuple[Floats, int]:
        """A unit vector per text, and how many tokens were read."""
        ids = [self._tokenizer.encode(text).ids for text in texts]
        spans = list(pairwise(accumulate(map(len, ids), initial=0)))
        x: Floats = np.concatenate([self._words[i] + self._positions[: len(i)] for i in ids])
        x = self._norm(x)
        for layer in self._layers:
            x = layer(x, spans)
        means: Floats = np.stack([x[start:end].mean(axis=0) for start, end in spans])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        return means, len(x)


def _attention(mixed: Floats) -> Floats:
    q, k, v = mixed.reshape(len(mixed), 3, _HEADS, _HEAD).transpose(1, 2, 0, 3)
    scores: Floats = q @ k.transpose(0, 2, 1)  # the scale is in the weights
    scores -= scores.max(axis=2, keepdims=True)
    np.exp(scores, out=scores)
    heads: Floats = scores @ v
    heads /= np.einsum("hij->hi", scores)[:, :, None]
    return heads.transpose(1, 0, 2).reshape(len(mixed), DIMENSION)


def _gelu(x: Floats) -> Floats:
    """`x * (1 + erf(x / √2)) / 2`, which is `max(x, 0) - |x| * erfc(|x| / √2) / 2`."""
    size: Floats = np.abs(x)
    y: Floats = size * np.float32(np.sqrt(0.5))
    t = np.reciprocal(_ERF_P * y + np.float32(1))
    tail = t * _ERF[0]
    for coefficient in _ERF[1:]:
        tail += coefficient
        tail *= t
    tail *= np.exp(-y * y)
    tail *= size
    tail *= np.float32(0.5)
    np.maximum(x, np.float32(0), out=y)
    y -= tail
    return y


def _layer(weights: dict[str, Floats], name: str) -> _Layer:
    query, key, value = (
        _linear(weights, f"{name}attention.self.{part}") for part in ("query", "key", "value")
    )
    scale = np.float32(_HEAD**-0.5)
    return _Layer(
        attend=_Linear(
            np.concatenate([query.weight * scale, key.weight, value.weight], axis=1),
            np.concatenate([query.bias * scale, key.bias, value.bias]),
        ),
        gather=_linear(weights, f"{name}attention.output.dense"),
        attended=_norm(weights, f"{name}attention.output.LayerNorm"),
        widen=_linear(weights, f"{name}intermediate.dense"),
        narrow=_linear(weights, f"{name}output.dense"),
        narrowed=_norm(weights, f"{name}output.LayerNorm"),
    )


def _linear(weights: dict[str, Floats], name: str) -> _Linear:
    return _Linear(np.ascontiguousarray(weights[f"{name}.weight"].T), weights[f"{name}.bias"])


def _norm(weights: dict[str, Floats], name: str) -> _Norm:
    return _Norm(weights[f"{name}.weight"], weights[f"{name}.bias"])
