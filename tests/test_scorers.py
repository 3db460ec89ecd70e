"""Scorers: what the heads predict, how small suites are cross-fitted, and transformers small enough to train here."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.evaluate import unusable
from bench.replay import Ledger, ReplayEnv, query_view, recorded_for, training_view
from routers.base import Router
from routers.forc import FORCRouter
from routers.frugalgpt import FrugalGPTRouter
from routers.held_out import HeldOut, folds
from routers.knn import KNNRouter
from routers.routellm import RouteLLMRouter
from routers.scorers import EmbeddingScorer, TextScorer, log_loss
from tasks.errors import InputError
from tasks.scenarios import BALANCE
from tasks.suite import Suite
from tests.toys import toy_suite

PARTS = ("train", "validation")

# --- embeddings -----------------------------------------------------------------------------------------------------


def test_shares_of_one_sum_to_one_and_follow_the_signal() -> None:
    x = np.repeat(np.eye(3), 50, axis=0)
    y = np.repeat([[0.8, 0.2, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.1, 0.1, 0.8, 0.0]], 50, axis=0)
    p = EmbeddingScorer(exclusive=True, penalties=(10.0,)).fit(x, y, x, y).predict(np.eye(3))
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    np.testing.assert_allclose(p, y[::50], atol=0.03)
    assert (p[:, 3] == 0.0).all(), "a class that never occurs"


def test_a_share_of_correctness_counts_as_that_many_right_answers() -> None:
    rng = np.random.default_rng(0)
    x, share = rng.standard_normal((200, 3)), rng.integers(0, 5, 200) / 4
    repeated = np.concatenate([np.repeat([1.0, 0.0], [4 * s, 4 - 4 * s]) for s in share])
    # four copies weigh four times as much against the penalty, and so do not differ in the limit of none
    loose = EmbeddingScorer(penalties=(1e4,))
    one = loose.fit(x, share[:, None], x, share[:, None]).predict(x)
    four = loose.fit(np.repeat(x, 4, axis=0), repeated[:, None], x, share[:, None]).predict(x)
    np.testing.assert_allclose(one, four, atol=1e-4)
    assert np.ptp(one) > 0.1


def test_what_never_varies_is_answered_by_its_smoothed_rate() -> None:
    x, y = np.random.default_rng(0).standard_normal((9, 2)), np.tile([1.0, 0.0], (9, 1))
    np.testing.assert_allclose(EmbeddingScorer().fit(x, y, x, y).predict(x[:2]), [[0.95, 0.05]] * 2)
    y = (np.arange(9) < 3).astype(float)[:, None]
    assert EmbeddingScorer().fit(0 * x, y, x, y).predict(x[:1]) == pytest.approx(0.35)


# --- cross-fitting --------------------------------------------------------------------------------------------------


def test_folds_are_even_and_go_with_the_cluster() -> None:
    ids = np.array([f"q{i}" for i in range(206)], dtype=object)
    clusters = np.repeat([f"c{i}" for i in range(103)], 2).astype(object)
    fold = folds(clusters, ids)
    np.testing.assert_array_equal(fold[::2], fold[1::2])
    assert sorted(np.bincount(fold).tolist()) == [40, 40, 42, 42, 42]
    order = np.random.default_rng(0).permutation(206)
    np.testing.assert_array_equal(folds(clusters[order], ids[order]), fold[order])
    assert set(folds(clusters[:4], ids[:4]).tolist()) == {0, 1}
    assert set(folds(clusters[:2], ids[:2]).tolist()) == {0, 1}, "within the only cluster there are queries"


def test_who_has_seen_a_passage_does_not_score_its_questions() -> None:
    """Three questions on each of 100 passages, equal but for labels at random: the nearest neighbours tell nothing."""
    rng = np.random.default_rng(0)
    correct = np.repeat(rng.integers(0, 2, (160, 1)), 3, axis=0).astype(float)
    vectors = np.repeat(rng.standard_normal((160, 8)), 3, axis=0).astype(np.float16)
    suite = toy_suite(
        correct, splits=np.resize(["train"] * 9 + ["validation"] * 3, 480), embeddings={"query/small": vectors}
    )
    suite = replace(suite, queries=suite.queries.assign(cluster_id=[f"c{i // 3}" for i in range(480)]))
    alone = replace(suite, queries=suite.queries.assign(cluster_id=suite.queries["query_id"]))
    assert fitted(KNNRouter(), suite).k_ >= 80
    assert fitted(KNNRouter(), alone).k_ <= 10


class Remembers:
    """Scores 1 for whatever it was fitted on or tuned with, and counts its inputs."""

    def fit(self, x: Any, y: Any, x_validation: Any, y_validation: Any) -> "Remembers":
        self.seen = {*x.ravel(), *x_validation.ravel()}
        assert not {*x.ravel()} & {*x_validation.ravel()}
        return self

    def predict(self, x: Any) -> Any:
        return np.array([[float(v in self.seen)] for v in x.ravel()])


@pytest.mark.parametrize("n", [40, 1200])
def test_nothing_is_scored_by_who_has_seen_it_and_only_large_suites_keep_to_validation(n: int) -> None:
    suite = toy_suite(np.ones((n, 2)), splits=np.resize(["train", "train", "validation"], n))
    train, validation = (training_view(suite, suite.rows(p), Router.signals, "balance") for p in PARTS)
    held_out = HeldOut(train, validation)
    x, x_validation = suite.rows("train"), suite.rows("validation")
    y, y_validation = np.ones((len(x), 1)), np.ones((len(x_validation), 1))
    scorer, scores = held_out.fit(Remembers, x, y, x_validation, y_validation)
    assert scorer.seen == {*x, *x_validation}
    if n < 1000:
        assert (held_out.fold is not None, len(scores)) == (True, n)
        assert not scores.any()
    else:
        assert (held_out.fold is None, len(scores)) == (True, len(x_validation))


def test_knn_chooses_k_over_both_parts_of_a_small_suite() -> None:
    """Every query of train has its twin there: within train 1 neighbour is best, for those of validation many are."""
    rng = np.random.default_rng(0)
    place = np.repeat(rng.standard_normal((300, 4)), 2, axis=0)
    correct = np.repeat((rng.random((300, 2)) < 0.5).astype(float), 2, axis=0)
    place = np.concatenate([place, rng.standard_normal((60, 4))])
    correct = np.concatenate([correct, (rng.random((60, 2)) < 0.5).astype(float)])
    splits = np.repeat(PARTS, [600, 60])
    suite = toy_suite(correct, splits=splits, embeddings={"query/small": place.astype(np.float16)})
    both = fitted(KNNRouter(neighbours=(1, 50)), suite)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("routers.held_out.SMALL", 0)
        alone = fitted(KNNRouter(neighbours=(1, 50)), suite)
    assert (both.k_, alone.k_) == (1, 50)


def test_knn_does_not_count_a_query_as_its_own_neighbour() -> None:
    rng = np.random.default_rng(0)
    correct, place = (rng.random((400, 2)) < 0.5).astype(float), rng.standard_normal((400, 4)).astype(np.float16)
    suite = toy_suite(correct, splits=np.resize(PARTS, 400), embeddings={"query/small": place})
    assert fitted(KNNRouter(neighbours=(1, 50)), suite).k_ == 50


def fitted(router: Any, suite: Suite) -> Any:
    return router.fit(*(training_view(suite, suite.rows(p), router.signals, "balance") for p in PARTS), BALANCE)


# --- texts ----------------------------------------------------------------------------------------------------------

WORDS = ["[PAD]", "[UNK]", *"abcdefghij", "<a>", "<b>", "<c>", "good", "bad"]


def make_model(folder: Path, architecture: str, seed: int = 0) -> str:
    """A random transformer of one layer that reads at most 16 words."""
    torch = pytest.importorskip("torch", reason="torch is not installed (make setup-live)")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (make setup-live)")
    from tokenizers import Tokenizer, models, pre_tokenizers

    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))  # noqa: S106
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(">", "merged_with_previous")]
    )
    padding = {"pad_token": "[PAD]"} if architecture != "llama" else {"eos_token": "[UNK]"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="[UNK]", **padding).save_pretrained(folder)  # noqa: S106
    settings = {
        "vocab_size": len(WORDS),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 16,
        "initializer_range": 0.2,
    }
    torch.manual_seed(seed)
    if architecture == "roberta":
        pad = WORDS.index("[PAD]")
        network = transformers.RobertaModel(transformers.RobertaConfig(**settings, pad_token_id=pad))
    elif architecture == "bert":
        network = transformers.BertModel(transformers.BertConfig(**settings))
    else:
        network = transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings, bos_token_id=None, eos_token_id=1))
    network.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module", params=["bert", "llama"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a model this small only loses by two
    yield make_model(tmp_path_factory.mktemp(request.param), request.param)
    torch.set_num_threads(threads)


def sentences(n: int, seed: int = 0) -> tuple[Any, Any]:
    """Texts of three to six words, and (n, 2) whether "good" and whether "bad" is among them."""
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(WORDS[2:], rng.integers(3, 7))) for _ in range(n)]
    return np.array(texts, dtype=object), np.array([["good" in t, "bad" in t] for t in texts], dtype=float)


def small(model: str, **settings: Any) -> TextScorer:
    return TextScorer(model, **{"learning_rate": 1e-2, "batch_size": 32, "epochs": 4, "max_tokens": 16} | settings)


def test_a_transformer_learns_what_its_texts_say(model: str) -> None:
    (x, y), (x_validation, y_validation) = sentences(600), sentences(200, seed=1)
    scorer = small(model).fit(x, y, x_validation, y_validation)
    p = scorer.predict(x_validation)
    assert p.shape == (200, 2)
    assert log_loss(y_validation, p) < 0.5 * log_loss(y_validation, np.broadcast_to(y.mean(axis=0), p.shape))
    np.testing.assert_allclose(scorer.predict(x_validation[[3]]), p[[3]], atol=1e-6)
    assert scorer.predict(x[:0]).shape == (0, 2)
    np.testing.assert_array_equal(small(model).fit(x, y, x_validation, y_validation).predict(x_validation), p)


def test_exclusive_classes_share_one(model: str) -> None:
    x, y = sentences(200)
    y = np.eye(3)[(y @ [1, 2]).clip(max=2).astype(int)]
    p = small(model, exclusive=True, epochs=1).fit(x, y, x, y).predict(x[:5])
    np.testing.assert_allclose(p.sum(axis=1), 1.0, atol=1e-6)


def test_an_interrupted_fit_goes_on_to_the_same_weights(model: str, tmp_path: Path) -> None:
    import torch

    (x, y), (x_validation, y_validation) = sentences(100), sentences(40, seed=1)
    data = x, y, x_validation, y_validation
    slow = {"patience": 9, "learning_rate": 2e-3}  # every epoch is better than the one before
    whole = small(model, **slow).fit(*data).predict(x)
    epochs: list[int] = []

    def watched(stop_at: int) -> TextScorer:
        scorer = small(model, **slow, checkpoint=str(tmp_path))
        train = scorer._train

        def count(optimizer: Any, rows: Any, y: Any, epoch: int) -> None:
            if epoch == stop_at:
                raise KeyboardInterrupt
            epochs.append(epoch)
            train(optimizer, rows, y, epoch)

        scorer._train = count  # type: ignore[method-assign]
        return scorer

    with pytest.raises(KeyboardInterrupt):
        watched(stop_at=2).fit(*data)
    torch.manual_seed(99)  # another process draws other numbers
    np.testing.assert_array_equal(watched(stop_at=9).fit(*data).predict(x), whole)
    assert epochs == [0, 1, 2, 3]
    np.testing.assert_array_equal(watched(stop_at=0).fit(*data).predict(x), whole)  # done: nothing is trained again
    other = watched(stop_at=9).fit(x, 1 - y, x_validation, 1 - y_validation)
    assert epochs[4:] == [0, 1, 2, 3], "other data never meet the checkpoint of these"
    assert np.abs(other.predict(x) - whole).max() > 0.001


def test_training_ends_when_validation_gets_no_better_and_the_best_epoch_is_kept(model: str) -> None:
    (x, y), losses = sentences(100), []
    wrong = 1.0 - y  # the better it learns, the worse it looks
    scorer = small(model, epochs=50, patience=3, learning_rate=1e-3)
    train = scorer._train

    def watch(*arguments: Any) -> None:
        train(*arguments)
        losses.append(log_loss(wrong, scorer.predict(x)))

    scorer._train = watch  # type: ignore[method-assign]
    scorer.fit(x, y, x, wrong)
    assert len(losses) == int(np.argmin(losses)) + 1 + 3 < 50
    assert log_loss(wrong, scorer.predict(x)) == pytest.approx(min(losses), abs=1e-9)


def test_of_a_long_text_the_beginning_and_the_end_are_read(model: str) -> None:
    x, y = sentences(20)
    scorer = small(model, epochs=0, max_tokens=8).fit(x, y, x, y)
    base = np.array(["a b c d e f g h i j", "a b j j j f g h i j e f g h i j"], dtype=object)
    changed = [base[0].replace("c d e", "c j e"), base[0].replace("b", "j"), base[0].replace("g", "a")]
    p = scorer.predict(np.array([base[0], *changed], dtype=object))
    # two words at the beginning and six at the end: the fourth is not among them
    np.testing.assert_array_equal(p[0], p[1])
    assert (p[0] != p[2]).any()
    assert (p[0] != p[3]).any()


def texts_suite(n: int = 240) -> Suite:
    """Three models: "good" is for all, "bad" only for the dearest, of neither for the second; answers give it away."""
    rng = np.random.default_rng(3)
    kind = rng.integers(0, 3, n)
    words = np.array(["good", "a", "bad"])[kind]
    texts = [f"{rng.choice(list('bcde'))} {word} {rng.choice(list('fghi'))}" for word in words]
    correct = np.array([[1, 1, 1], [0, 1, 1], [0, 0, 1]])[kind]
    answers = np.where(correct == 1, "good", "bad").astype(object)
    suite = toy_suite(correct, splits=np.resize(["train", "train", "validation", "test"], n), costs=[0.1, 0.4, 0.9],
                      outcomes={"answer": answers})  # fmt: skip
    return replace(suite, queries=suite.queries.assign(text=texts))


@pytest.mark.parametrize("router", [RouteLLMRouter, FORCRouter, FrugalGPTRouter])
def test_routers_read_texts(router: Any, model: str) -> None:
    suite = texts_suite()
    scorer = small(model, epochs=12, patience=12)
    made = fitted(router(scorer=scorer), suite)
    assert made.needs() <= suite.available
    rows = suite.rows("test")
    env = ReplayEnv(recorded_for(suite, rows, made.signals, "balance"), made.signals, Ledger(len(rows)))
    chosen = made.route(query_view(suite, rows), env, BALANCE)
    assert np.mean(chosen == suite.correct[rows].argmax(axis=1)) > 0.9
    assert not hasattr(scorer, "network_"), "what is given is copied"


def test_forc_reads_texts_for_any_subset_of_the_pool(model: str) -> None:
    suite = texts_suite(60)
    made = fitted(FORCRouter(scorer=small(model, epochs=1)), suite)
    three, two = (
        made.predict_correctness(query_view(s, suite.rows("test"))) for s in (suite, suite.subset(["a", "c"]))
    )
    np.testing.assert_allclose(two, three[:, [0, 2]], atol=1e-6)


@pytest.mark.parametrize("router", [RouteLLMRouter, FORCRouter, FrugalGPTRouter])
def test_without_texts_the_error_says_which_command_brings_them(router: Any) -> None:
    suite = toy_suite(np.ones((9, 2)), splits=np.resize(["train", "validation", "test"], 9))
    made = router(scorer="text")
    assert "python -m bench.attach_texts SUITE --data-dir DIR" in str(unusable(made, suite, suite))
    with pytest.raises(InputError, match="python -m bench.attach_texts SUITE --data-dir DIR"):
        fitted(made, suite)


def test_without_answers_in_words_the_error_names_the_model(model: str) -> None:
    suite = texts_suite(60)
    suite = replace(suite, outcomes={"correct": suite.correct})
    with pytest.raises(InputError, match="no texts of the answers of a"):
        fitted(FrugalGPTRouter(scorer=small(model)), suite)


def test_answers_that_are_withheld_are_no_empty_answers(model: str) -> None:
    suite = texts_suite(60)
    withheld = replace(suite, outcomes=suite.outcomes | {"answer": np.full(suite.correct.shape, None)})
    router = FrugalGPTRouter(scorer=small(model))
    assert unusable(router, suite, suite) is None
    assert unusable(router, withheld, withheld) == "the suite has no answer texts"
    with pytest.raises(InputError, match="no texts of the answers of a"):
        fitted(router, withheld)


def test_training_that_diverges_is_told(model: str) -> None:
    x, y = sentences(40)
    with pytest.raises(InputError, match="diverged.*lower learning_rate"):
        TextScorer(model, learning_rate=1e30, epochs=2).fit(x, y, x, y)


def test_roberta_counts_two_places_more_than_it_has(tmp_path: Path) -> None:
    folder = make_model(tmp_path, "roberta")
    x, y = sentences(20)
    long = np.array([" ".join([text] * 9) for text in x], dtype=object)
    assert np.isfinite(TextScorer(folder, epochs=1).fit(long, y, long, y).predict(long)).all()


def test_a_model_in_the_place_of_another_is_trained_anew(tmp_path: Path) -> None:
    folder, kept = make_model(tmp_path / "m", "bert"), str(tmp_path / "kept")
    x, y = sentences(20)
    scorer = TextScorer(folder, epochs=1, checkpoint=kept)
    scorer.fit(x, y, x, y)
    make_model(tmp_path / "m", "bert", seed=1)
    scorer.fit(x, y, x, y)
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_without_anything_held_out_the_penalty_in_the_middle_is_taken() -> None:
    x, y = np.random.default_rng(0).standard_normal((40, 3)), np.eye(2)[np.arange(40) % 2]
    found = EmbeddingScorer(exclusive=True, penalties=(1e-9, 1.0, 1e9)).fit(x, y, x[:0], y[:0]).predict(x)
    expected = EmbeddingScorer(exclusive=True, penalties=(1.0,)).fit(x, y, x, y).predict(x)
    np.testing.assert_array_equal(found, expected)


def test_a_folder_that_holds_no_model_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed (make setup-live)")
    x, y = sentences(4)
    with pytest.raises(InputError, match="cannot be loaded as a text scorer"):
        TextScorer(str(tmp_path)).fit(x, y, x, y)


def test_a_missing_package_is_named_with_its_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routers.scorers.find_spec", lambda name: None)
    x, y = sentences(4)
    with pytest.raises(InputError, match=r"torch and transformers.*pip install 'disrouter-bench\[live\]'"):
        TextScorer().fit(x, y, x, y)


def test_embeddings_need_no_torch() -> None:
    code = (
        "import sys; from routers import forc, frugalgpt, routellm, scorers; "
        "import numpy as np; scorers.EmbeddingScorer().fit(np.eye(2), np.eye(2), np.eye(2), np.eye(2)); "
        "sys.exit(any(m in sys.modules for m in ('torch', 'transformers')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
