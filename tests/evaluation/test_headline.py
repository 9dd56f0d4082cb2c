"""The numbers that a report begins with fit what the model was made for."""

from atbert_jax.evaluation import headline
from atbert_jax.evaluation.compared_systems import Compared, System
from atbert_jax.input_pipeline.contract import Labels


def test_a_classifier_shows_each_system_and_what_was_not_read():
    systems = {"a from b: audio": System({"accuracy": 0.5}), "MFCC": System({"accuracy": 0.4})}
    compared = [Compared(Labels("single_label", ("x", "y")), systems)]
    measured = {"loss": 1.0, "classification": {"loss": 1.0, "audio": {}}}
    found = headline.numbers(compared, measured, {}, 0)
    assert found == {"accuracy a from b": 0.5, "accuracy MFCC": 0.4}
    assert headline.numbers(compared, measured, {}, 3)[headline.LEFT_OUT] == 3


def test_a_pre_trained_model_shows_pairs_and_search_beside_chance():
    measured = {
        "loss": 2.0,
        "correct_pair": {"loss": 1.0, "accuracy": 0.8, "roc_auc": 0.9},
        "alignment": {"loss": 1.0, "cosine": 0.3},
        "masked_embedding": {"loss": 1.0, "audio_accuracy": 0.2},
    }
    stages = {"candidates": {"recall_at_10": 0.6}, "chance": {"recall_at_10": 0.1}}
    search = {"text_to_audio": stages | {"reranked": {"recall_at_10": 0.7}}}
    assert headline.numbers([], measured, search, 0) == {
        "pairs told apart, ROC AUC": 0.9,
        "masked_embedding audio_accuracy": 0.2,
        "text_to_audio recall@10": 0.7,
        "by chance, text_to_audio": 0.1,
    }
    assert headline.numbers([], {"loss": 2.0}, {}, 0) == {"loss": 2.0}
