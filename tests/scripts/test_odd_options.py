"""Words as nobody would type them: each script refuses them, or plans; it never stumbles and never runs one."""

import random

import pytest

OPTIONS = (
    *(
        "--data",
        "--from",
        "--to",
        "--only",
        "--gpus",
        "--jobs",
        "--members",
        "--method",
        "--ckpts",
        "--small",
        "--demo",
    ),
    *("--force", "--dry-run", "--help", "-h", "--", "--no-such", "-x", "-"),
)
VALUES = (
    *("", " ", "0", "1", "007", "-1", "99999999999999999999", "0,1", ",", "1,,2", "stage1", "pseudo", "v2", "v2,v2"),
    *(
        "swin224_stage1",
        "swin224_stage1/",
        "../swin224_stage1",
        "mean",
        "rank",
        "*",
        "?[a",
        "~",
        "%s%n",
        "\\",
        "\t",
        "a\nb",
    ),
    *(
        "$(touch hurt)",
        "`touch hurt`",
        "; touch hurt",
        "a b",
        "'",
        '"',
        "é",
        "${HOME}",
        "{1..9}",
        "!!",
        "#",
        "&",
        "|",
    ),
)


@pytest.mark.parametrize("seed", range(16))
@pytest.mark.parametrize("script", ["train.sh", "predict.sh", "predict_ckpt.sh"])
def test_odd_words_are_planned_with_or_refused(finished, script, seed):
    words = random.Random(seed)
    line = ["--dry-run"]
    for _ in range(words.randint(1, 5)):
        line.append(words.choice(OPTIONS if words.random() < 0.6 else VALUES))
        if words.random() < 0.5:
            line.append(words.choice(VALUES))
    before = finished.files()
    done = finished.run(script, *line)
    assert done.returncode in (0, 1, 2), (line, done.stderr)
    for sign in ("unbound variable", "command not found", "syntax error", "Traceback"):
        assert sign not in done.stderr, (line, done.stderr)
    assert finished.called() == []
    assert finished.files() == before
