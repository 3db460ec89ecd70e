"""Scorers: probabilities from embeddings or from texts, learned on train, regularised by what validation says.

Two kinds with one interface: `fit(x, y, x_validation, y_validation)` and `predict(x)`, where `x` holds n embeddings
or n texts and `y` (n, K) lies in [0, 1]. The columns of `y` are targets of their own or, with `exclusive`, shares that
sum to one.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from routers.base import FloatArray, IntArray, QueryView
from tasks.errors import InputError, one_of
from tasks.files import whole_directory

Inputs = NDArray[Any]
BRING_TEXTS = "python -m bench.attach_texts SUITE --data-dir DIR"
_FEW = 64
_STATE = "state.pt"


class Scorer(Protocol):
    """What both kinds of scorer do."""

    def fit(self, x: Inputs, y: FloatArray, x_validation: Inputs, y_validation: FloatArray) -> Self:
        """Learn the K columns of `y` (n, K) from n inputs, and what regularises from the validation part."""

    def predict(self, x: Inputs) -> FloatArray:
        """Return (n, K) probabilities."""


def log_loss(correct: FloatArray, p: FloatArray) -> float:
    """Return the mean log-loss in nats of probabilities `p` for correctness in [0, 1], arrays of one shape."""
    p = np.clip(np.asarray(p, dtype=np.float64), 1e-12, 1.0 - 1e-12)
    return float(-(correct * np.log(p) + (1.0 - correct) * np.log1p(-p)).mean())


class EmbeddingScorer(BaseEstimator):  # type: ignore[misc]  # scikit-learn ships without types
    """Logistic heads on standardised features; the penalty of each is chosen on validation by log-loss.

    Correctness between 0 and 1 counts as that share of a right and the rest of a wrong answer. A target that never
    varies on train, or features that never do, are answered by the target's smoothed rate.
    """

    def __init__(self, exclusive: bool = False, penalties: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0)) -> None:
        self.exclusive = exclusive
        self.penalties = penalties

    def fit(self, x: Inputs, y: FloatArray, x_validation: Inputs, y_validation: FloatArray) -> Self:
        """Fit one head for each column of `y` (n, K) on features `x` (n, d), or with `exclusive` one for all."""
        x, x_validation = np.asarray(x, dtype=np.float64), np.asarray(x_validation, dtype=np.float64)
        # where nothing was held out, nothing tells penalties apart
        penalties = self.penalties if len(x_validation) else self.penalties[len(self.penalties) // 2 :][:1]
        # Products this small only lose by more threads: on two busy cores fifteen seconds in place of one.
        with threadpool_limits(1):
            self.heads_ = [
                min(
                    (_fit_head(x, shares, strength) for strength in penalties),
                    key=lambda head: log_loss(held_out, head.predict(x_validation)) if len(x_validation) else 0.0,
                )
                for shares, held_out in zip(self._shares(y), self._shares(y_validation), strict=True)
            ]
        return self

    def predict(self, x: Inputs) -> FloatArray:
        """Return (n, K) probabilities."""
        p = [head.predict(np.asarray(x, dtype=np.float64)) for head in self.heads_]
        return p[0] if self.exclusive else np.column_stack([of_two[:, 1] for of_two in p])

    def _shares(self, y: FloatArray) -> list[FloatArray]:
        return [y] if self.exclusive else [np.column_stack([1.0 - column, column]) for column in y.T]


@dataclass(frozen=True, eq=False)
class _Head:
    """P of m exclusive outcomes: a fitted pipeline's, or without one `rates` (m,) for every input."""

    rates: FloatArray
    pipeline: Any = None

    def predict(self, x: FloatArray) -> FloatArray:
        if self.pipeline is None or len(x) == 0:
            return np.tile(self.rates, (len(x), 1))
        p = np.zeros((len(x), len(self.rates)))
        p[:, self.pipeline.classes_] = self.pipeline.predict_proba(x)
        return p


def _fit_head(x: FloatArray, shares: FloatArray, strength: float) -> _Head:
    n, m = shares.shape
    rates = (shares.sum(axis=0) + 0.5) / (n + 0.5 * m)
    if n == 0 or not np.ptp(shares, axis=0).any() or not np.ptp(x, axis=0).any():
        return _Head(rates)
    row, outcome = np.nonzero(shares)
    solver = "newton-cholesky" if m == 2 and x.shape[1] <= _FEW else "lbfgs"  # Newton's steps grow with d²
    model = LogisticRegression(C=strength, solver=solver, tol=1e-6, max_iter=1000)
    pipeline = make_pipeline(StandardScaler(), model)
    return _Head(rates, pipeline.fit(x[row], outcome, logisticregression__sample_weight=shares[row, outcome]))


class TextScorer(BaseEstimator):  # type: ignore[misc]  # scikit-learn ships without types
    """A transformer fine-tuned on texts, with K logits: any encoder or decoder of a folder or hub id.

    AdamW with a rate that falls linearly to 0, gradients clipped at 1, float32 weights, bfloat16 arithmetic on GPUs.
    The epoch with the best validation log-loss is kept, and after `patience` epochs without a better one training
    ends. Of a text longer than `max_tokens` the first quarter and the last three quarters of that length are read:
    questions and final answers stand at the end. With a directory `checkpoint` every epoch is kept there, under a name
    made of settings and data, and an interrupted fit goes on after the last one, to the same weights on a CPU.
    """

    def __init__(
        self,
        model: str = "Qwen/Qwen2.5-0.5B-Instruct",
        exclusive: bool = False,
        learning_rate: float = 2e-5,
        batch_size: int = 16,
        epochs: int = 10,
        patience: int = 2,
        max_tokens: int = 1024,
        seed: int = 0,
        checkpoint: str | None = None,
    ) -> None:
        self.model = model
        self.exclusive = exclusive
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.epochs = epochs
        self.patience = patience
        self.max_tokens = max_tokens
        self.seed = seed
        self.checkpoint = checkpoint

    def fit(self, x: Inputs, y: FloatArray, x_validation: Inputs, y_validation: FloatArray) -> Self:
        """Fine-tune on n texts; raises `InputError` where a package is missing or the model cannot be loaded."""
        torch = import_torch("transformers")
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)  # the head of a model that has none yet is drawn
            self.tokenizer_, self.network_ = _load(self.model, y.shape[1])
        optimizer = torch.optim.AdamW(self.network_.parameters(), lr=self.learning_rate)
        kept = (
            None if self.checkpoint is None else Path(self.checkpoint) / self._digest(x, y, x_validation, y_validation)
        )
        state = self._resume(optimizer, kept)
        rows = self._tokens(x)
        while state["epoch"] < self.epochs and state["stale"] < self.patience:
            self._train(optimizer, rows, y, state["epoch"])
            loss = log_loss(y_validation, self.predict(x_validation))
            if better := loss < state["loss"]:
                state |= {"loss": loss, "best": {k: v.cpu().clone() for k, v in self.network_.state_dict().items()}}
            state |= {"epoch": state["epoch"] + 1, "stale": 0 if better else state["stale"] + 1}
            if kept is not None:
                with whole_directory(kept, _STATE) as scratch:
                    now = {"network": self.network_.state_dict(), "optimizer": optimizer.state_dict()}
                    torch.save(state | now, scratch / _STATE)
        if self.epochs and not np.isfinite(state["loss"]):
            raise InputError(
                f"training {self.model} diverged: no epoch has a validation loss; lower learning_rate (now "
                f"{self.learning_rate:g})"
            )
        self.network_.load_state_dict(state["best"])
        return self

    def predict(self, x: Inputs) -> FloatArray:
        """Return (n, K) probabilities for n texts."""
        torch = import_torch()
        rows, p = self._tokens(x), np.zeros((len(x), self.network_.config.num_labels))
        self.network_.eval()
        with torch.inference_mode():
            for batch in self._batches(np.argsort([len(row) for row in rows], kind="stable")):
                logits = self._logits([rows[i] for i in batch])
                p[batch] = (logits.softmax(-1) if self.exclusive else logits.sigmoid()).double().cpu().numpy()
        return p

    def _train(self, optimizer: Any, rows: Sequence[list[int]], y: FloatArray, epoch: int) -> None:
        """Go once through all rows, in an order and with a dropout that follow from seed and epoch."""
        torch = import_torch()
        functional = torch.nn.functional
        lose = functional.cross_entropy if self.exclusive else functional.binary_cross_entropy_with_logits
        batches = self._batches(np.random.default_rng([self.seed, epoch]).permutation(len(rows)))
        self.network_.train()
        with torch.random.fork_rng():
            torch.manual_seed(self.seed * self.epochs + epoch)
            for step, batch in enumerate(batches):
                for group in optimizer.param_groups:
                    group["lr"] = self.learning_rate * (1.0 - (epoch + step / len(batches)) / self.epochs)
                logits = self._logits([rows[i] for i in batch])
                lose(logits, torch.tensor(y[batch], dtype=logits.dtype, device=logits.device)).backward()
                torch.nn.utils.clip_grad_norm_(self.network_.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()

    def _logits(self, rows: Sequence[list[int]]) -> Any:
        torch = import_torch()
        width, device = max(len(row) for row in rows), self.network_.device
        ids = [row + [self.tokenizer_.pad_token_id] * (width - len(row)) for row in rows]
        mask = [[1] * len(row) + [0] * (width - len(row)) for row in rows]
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            output = self.network_(torch.tensor(ids, device=device), attention_mask=torch.tensor(mask, device=device))
        return output.logits.float()

    def _tokens(self, texts: Inputs) -> list[list[int]]:
        rows = [self.tokenizer_(str(text))["input_ids"] or [self.tokenizer_.pad_token_id] for text in texts]
        places = getattr(self.network_.config, "max_position_embeddings", None) or self.max_tokens
        limit = min(self.max_tokens, places - _unused_places(self.network_), self.tokenizer_.model_max_length)
        first = limit // 4
        return [row if len(row) <= limit else row[:first] + row[first - limit :] for row in rows]

    def _batches(self, order: IntArray) -> list[IntArray]:
        return [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]

    def _resume(self, optimizer: Any, kept: Path | None) -> dict[str, Any]:
        """Return where training stands, and bring network and optimizer there."""
        if kept is None or not (kept / _STATE).is_file():
            return {"epoch": 0, "stale": 0, "loss": float("inf"), "best": self.network_.state_dict()}
        state: dict[str, Any] = import_torch().load(kept / _STATE, weights_only=True, map_location=self.network_.device)
        self.network_.load_state_dict(state.pop("network"))
        optimizer.load_state_dict(state.pop("optimizer"))
        return state

    def _digest(self, *data: Inputs) -> str:
        settings = {name: value for name, value in self.get_params().items() if name != "checkpoint"}
        # another model may come to stand in the same folder
        stamps = sorted((f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in Path(self.model).glob("*.*"))
        return hashlib.sha256(repr([settings, stamps, *(part.tolist() for part in data)]).encode()).hexdigest()[:16]


def import_torch(*packages: str, extra: str = "live") -> Any:
    """Return torch; raises `InputError` with the install line unless it and `packages` are installed."""
    lacking = [name for name in dict.fromkeys(["torch", *packages]) if find_spec(name) is None]
    if lacking:
        raise InputError(
            f"this router needs the package {' and '.join(lacking)}, which is not installed; run "
            f"pip install 'disrouter-bench[{extra}]'"
        )
    import torch

    return torch


@contextlib.contextmanager
def one_thread(torch: Any) -> Iterator[None]:
    """Matrices this small only lose by more threads, and on a busy machine they lose minutes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _load(model: str, n_targets: int) -> tuple[Any, Any]:
    """Return tokenizer and network of `model`, with a new head of `n_targets` logits unless it has that one."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    auto: Any = AutoModelForSequenceClassification
    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
        network = auto.from_pretrained(model, num_labels=n_targets).float()
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{model} cannot be loaded as a text scorer ({type(error).__name__}: {reason}); pass a folder as "
            "save_pretrained writes it, or a hub id while the hub can be reached"
        ) from None
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    network.config.pad_token_id = tokenizer.pad_token_id
    return tokenizer, network.to("cuda" if import_torch().cuda.is_available() else "cpu")


def _unused_places(network: Any) -> int:
    """Return how many of the places of a network no token may take: those up to the padding's, as in RoBERTa."""
    tables = (module for name, module in network.named_modules() if name.endswith("position_embeddings"))
    return max(
        (padding + 1 for table in tables if (padding := getattr(table, "padding_idx", None)) is not None), default=0
    )


ScorerChoice = Literal["embedding", "text"] | TextScorer


def new_scorer(choice: ScorerChoice, exclusive: bool = False, **paper: Any) -> EmbeddingScorer | TextScorer:
    """Return an unfitted scorer: by name, `text` with the settings `paper`, or a copy of the one given."""
    if isinstance(choice, TextScorer):
        copy: TextScorer = clone(choice).set_params(exclusive=exclusive)
        return copy
    return TextScorer(exclusive=exclusive, **paper) if reads_texts(choice) else EmbeddingScorer(exclusive)


def reads_texts(choice: ScorerChoice) -> bool:
    """Return whether a scorer reads texts, not embeddings; raises `InputError` for a name that there is not."""
    return isinstance(choice, TextScorer) or one_of("scorer", choice, ("embedding", "text")) == "text"


def query_inputs(queries: QueryView, choice: ScorerChoice, kind: str) -> Inputs:
    """Return what a scorer reads of n queries: (n, d) embeddings of `kind`, or (n,) texts.

    Raises `InputError`, with the command that brings them, where there are no texts.
    """
    if not reads_texts(choice):
        return queries.embedding(kind)
    if queries.texts is None:
        raise InputError(f"the suite has no query texts, which a text scorer reads; bring them by: {BRING_TEXTS}")
    return queries.texts


def needed(choice: ScorerChoice, kind: str) -> frozenset[str]:
    """Return what a suite must hold for `query_inputs`."""
    return frozenset({"text" if reads_texts(choice) else kind})
