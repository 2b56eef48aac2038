import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsClassifier

from nfnets_jax.analysis import neighbours
from nfnets_jax.analysis.neighbours import knn_accuracy, ridge_accuracy


@pytest.fixture(scope="module")
def digits():
    """A bank of 700 and 300 queries, so noisy that a wrong vote shows."""
    images, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(images))[:1000]
    noisy = (images + rng.normal(scale=6.0, size=images.shape))[order].astype(np.float32)
    labels = labels[order]
    return noisy[:700], labels[:700], noisy[700:], labels[700:]


def knn_of_scikit_learn(bank, bank_labels, queries, k, temperature):
    # Its distances are 1 - cosine; a common factor of the weights changes nothing.
    peer = KNeighborsClassifier(
        k, metric="cosine", weights=lambda distances: np.exp(-distances / temperature))
    return peer.fit(bank, bank_labels).predict(queries)


def ridge_of_scikit_learn(features, labels, test, penalty):
    scale = np.sqrt(np.mean(np.var(features, axis=0, dtype=np.float64)))
    peer = Ridge(alpha=penalty * len(features), solver="svd")
    peer.fit(features / scale, np.eye(10)[labels])
    return np.argmax(peer.predict(test / scale), axis=1)


@pytest.mark.parametrize("k, temperature", [(1, 0.07), (20, 0.07), (20, 10.0), (200, 0.01)])
def test_votes_are_those_of_scikit_learn(digits, k, temperature):
    bank, bank_labels, queries, labels = digits
    expected = knn_of_scikit_learn(bank, bank_labels, queries, k, temperature)
    options = dict(k=k, temperature=temperature)
    # Every single query, with the peer's answers as labels.
    assert knn_accuracy(bank, bank_labels, queries, expected, 10, **options) == 1.0
    accuracy = knn_accuracy(bank, bank_labels, queries, labels, 10, **options)
    assert accuracy == pytest.approx(np.mean(expected == labels))
    assert 0.5 < accuracy < 0.95


def test_the_bank_finds_itself(digits):
    bank, labels, _, _ = digits
    assert knn_accuracy(bank, labels, bank, labels, 10, k=1) == 1.0
    assert knn_accuracy(bank, labels, bank, (labels + 1) % 10, 10, k=1) == 0.0


def test_order_scale_and_chunks_change_nothing(digits):
    bank, bank_labels, queries, _ = digits
    expected = knn_of_scikit_learn(bank, bank_labels, queries, 20, 0.07)
    order = np.random.default_rng(1).permutation(len(bank))
    lengths = np.exp(np.random.default_rng(2).normal(size=(len(bank), 1)))
    assert knn_accuracy(
        (bank * lengths)[order], bank_labels[order], queries, expected, 10) == 1.0
    for chunk in (90, 300):  # 300 = 3 * 90 + 30
        assert knn_accuracy(bank, bank_labels, queries, expected, 10, chunk=chunk) == 1.0


def test_no_more_than_a_chunk_is_compared_at_a_time(digits, monkeypatch):
    bank, bank_labels, queries, labels = digits
    sizes, vote = [], neighbours._vote

    def spy(bank, bank_labels, queries, *args):
        sizes.append(len(queries))
        return vote(bank, bank_labels, queries, *args)

    monkeypatch.setattr(neighbours, "_vote", spy)
    knn_accuracy(bank, bank_labels, queries, labels, 10, chunk=90)
    assert sizes == [90, 90, 90, 30]


def test_weights_decide_against_the_count():
    bank = np.array([[1.0, 0.0], [0.6, 0.8], [0.6, -0.8]], np.float32)
    labels, query = np.array([2, 1, 1]), np.array([[1.0, 0.0]], np.float32)
    # exp(0.4 / T) > 2 for T < 0.577; without a common factor exp(1 / T) overflows at 0.001.
    for temperature, winner in ((0.55, 2), (0.6, 1), (1e-3, 2)):
        assert knn_accuracy(bank, labels, query, np.array([winner]), 3, k=3,
                            temperature=temperature) == 1.0


def test_constant_features_take_the_majority_of_the_first_k():
    labels = np.array([3, 1, 1, 3, 1, 0, 0, 0, 0, 0])
    same = np.full((10, 4), 0.5, np.float32)
    # Among the first 4 of the bank two classes have 2 votes each: the smaller one wins.
    for k, winner in ((1, 3), (4, 1), (5, 1), (10, 0)):
        assert knn_accuracy(same, labels, same, np.full(10, winner), 4, k=k) == 1.0
    assert knn_accuracy(same, labels, same, labels, 4, k=10) == 0.5


@pytest.mark.parametrize("penalty", [1e-3, 1e-1, 10.0])
def test_ridge_is_that_of_scikit_learn(digits, penalty):
    features, labels, test, test_labels = digits
    # Both solve in float64, so no answer differs; half and twice the penalty give others.
    expected = ridge_of_scikit_learn(features, labels, test, penalty)
    assert ridge_accuracy(features, labels, test, expected, 10, regularization=penalty) == 1.0
    accuracy = ridge_accuracy(features, labels, test, test_labels, 10, regularization=penalty)
    assert accuracy == np.mean(expected == test_labels)
    assert 0.5 < accuracy < 0.95
    if penalty > 1e-3:
        for wrong in (penalty / 2, 2 * penalty):
            assert np.any(ridge_of_scikit_learn(features, labels, test, wrong) != expected)


def test_ridge_knows_neither_offset_nor_scale_but_shape(digits):
    features, labels, test, _ = (values.astype(np.float64) for values in digits)
    labels = labels.astype(int)
    expected = ridge_of_scikit_learn(features, labels, test, 0.1)
    shift = np.arange(64.0)
    assert ridge_accuracy(1e-6 * (features + shift), labels, 1e-6 * (test + shift), expected, 10,
                          regularization=0.1) == 1.0
    # One common scale: a dimension made 100 times larger counts for more.
    factors = np.where(shift == 20, 100.0, 1.0)
    assert ridge_accuracy(features * factors, labels, test * factors, expected, 10,
                          regularization=0.1) < 0.98


def test_ridge_on_constant_features_answers_the_most_frequent_class():
    labels, same = np.array([2, 2, 0, 1]), np.full((4, 3), 0.1)
    assert ridge_accuracy(same, labels, same, np.full(4, 2), 3) == 1.0


def test_ridge_with_more_dimensions_than_examples():
    features, labels = np.random.default_rng(0).normal(size=(20, 100)), np.arange(20) % 4
    assert ridge_accuracy(features, labels, features, labels, 4) == 1.0
