"""Command lines that nobody would type: each script refuses them or plans, but never crashes and runs nothing."""

import random

import pytest

OPTIONS = """
    --data --from --to --only --gpus --jobs --members --method --ckpts --small --demo --force --list --dry-run --help
    -h -- --no-such -x -
"""
VALUES = r"""
    0 1 007 -1 99999999999999999999 0,1 , 1,,2 stage1 pseudo v2 v2,v2 swin224_stage1 swin224_stage1/
    ../swin224_stage1 mean rank * ?[a ~ %s%n \ `touch,hurt` ' " é ${HOME} {1..9} !! # & |
"""
MORE_VALUES = ["", " ", "\t", "a\nb", "a b", "$(touch hurt)", "; touch hurt"]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("script", ["train.sh", "predict.sh", "predict_ckpt.sh"])
def test_odd_options_are_planned_with_or_refused(finished, script, seed):
    generator = random.Random(seed)
    options, values = OPTIONS.split(), VALUES.split() + MORE_VALUES
    args = ["--dry-run"]
    for _ in range(generator.randint(1, 5)):
        args.append(generator.choice(options if generator.random() < 0.6 else values))
        if generator.random() < 0.5:
            args.append(generator.choice(values))
    before = finished.files()
    result = finished.run(script, *args)
    assert result.returncode in (0, 1, 2), (args, result.stderr)
    for sign in ("unbound variable", "command not found", "syntax error", "Traceback"):
        assert sign not in result.stderr, (args, result.stderr)
    assert finished.called() == []
    assert finished.files() == before
