"""An index says whose vectors it holds, and what is damaged in it."""

import shutil

import numpy as np
import pytest

import atbert_jax
from atbert_jax.input_pipeline.text import whole_file
from atbert_jax.library import index_folder, vector_shards
from atbert_jax.training import trained
from tests.music_library import make_run, update, vectors_by_name


def test_another_model_is_refused(model, music, tmp_path):
    update(model, tmp_path / "lib", music)
    other = trained.load(make_run(tmp_path / "other", 1, correct_pair=1.0, alignment=1.0))
    with pytest.raises(ValueError, match=r"lib: was made by .*run, step 0, and .*other"):
        update(other, tmp_path / "lib", music)
    with pytest.raises(ValueError, match="another model"):
        atbert_jax.Index(tmp_path / "lib").require(other)


def test_a_model_that_was_made_anew_in_its_folder_is_refused(model, music, tmp_path):
    folder = make_run(tmp_path / "same", correct_pair=1.0, alignment=1.0)
    update(trained.load(folder), tmp_path / "lib", music)
    shutil.rmtree(tmp_path / "same")
    anew = trained.load(make_run(tmp_path / "same", 1, correct_pair=1.0, alignment=1.0))
    with pytest.raises(ValueError, match=r"same/run, step 0, where there is another model now"):
        update(anew, tmp_path / "lib", music)


def test_vectors_of_another_model_are_never_mixed_in(model, music, tmp_path, heard):
    """Even where what said whose they are is lost."""
    other = trained.load(make_run(tmp_path / "other", 1, correct_pair=1.0, alignment=1.0))
    update(model, tmp_path / "lib", music)
    (tmp_path / "lib" / index_folder.ABOUT).unlink()
    (music / "2.wav").unlink()
    heard.clear()
    assert update(other, tmp_path / "lib", music).heard == len(heard) == 5
    update(other, tmp_path / "whole", music)
    one, two = (vectors_by_name(atbert_jax.Index(tmp_path / n)) for n in ("lib", "whole"))
    for name, vectors in one.items():
        np.testing.assert_array_equal(vectors, two[name])
    (tmp_path / "lib" / index_folder.ABOUT).unlink()
    heard.clear()
    assert update(other, tmp_path / "lib", music, hop=0.25).heard == len(heard) == 5
    # What was there before is found again.
    (tmp_path / "lib" / index_folder.ABOUT).unlink()
    assert update(model, tmp_path / "lib", music).heard == 0


def test_damage_is_found(model, music, tmp_path):
    update(model, tmp_path / "lib", music)
    shard = vector_shards.paths(tmp_path / "lib")[1]
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-4] + bytes(4))
    with pytest.raises(whole_file.DamagedFileError, match="has changed since it was written"):
        atbert_jax.Index(tmp_path / "lib")
    shard.write_bytes(whole[:100])
    with pytest.raises(
        whole_file.DamagedFileError, match=r"is damaged .* run `atbert index` again"
    ):
        atbert_jax.Index(tmp_path / "lib")
    shard.unlink()
    with pytest.raises(ValueError, match=r"vectors of \d recordings are not there"):
        atbert_jax.Index(tmp_path / "lib")
    assert update(model, tmp_path / "lib", music).heard
    assert len(atbert_jax.Index(tmp_path / "lib")) == 12
    files = tmp_path / "lib" / index_folder.FILES
    files.write_bytes(files.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"files\.parquet: is damaged"):
        atbert_jax.Index(tmp_path / "lib")
    assert update(model, tmp_path / "lib", music).unchanged == 6
    assert len(atbert_jax.Index(tmp_path / "lib")) == 12
    with pytest.raises(ValueError, match="is no index; make one with `atbert index`"):
        atbert_jax.Index(tmp_path / "nothing")
