"""The linear guard survives its file, and tells invented harm words from others in both languages."""

import numpy as np
import pytest

from tenfold.core.errors import ConfigError, MissingArtifactError
from tenfold.systems.shieldlm.linear import LinearGuard

WORDS = {"en": ("please zorgle the frump", "please water the garden"), "zh": ("请佐格这朵花吧", "请浇一浇这朵花吧")}


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_guard_read_back_scores_the_same(lang, tmp_path):
    unsafe, safe = WORDS[lang]
    guard = LinearGuard.fit([unsafe, safe] * 10, [True, False] * 10, lang)
    guard.write(tmp_path)
    texts = [unsafe, safe, "", "neither"]
    np.testing.assert_allclose(LinearGuard.read(tmp_path).scores(texts), guard.scores(texts), rtol=0, atol=1e-12)
    assert guard.scores([unsafe])[0] > 0.5 > guard.scores([safe])[0]


def test_wrong_input_is_told_plainly(tmp_path):
    with pytest.raises(ConfigError, match="labels are equal"):
        LinearGuard.fit(["a b", "a c"], [True, True], "en")
    with pytest.raises(MissingArtifactError, match="no linear guard"):
        LinearGuard.read(tmp_path)
