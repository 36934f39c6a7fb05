import os
import subprocess
from pathlib import Path

import pytest

SUBMIT = str(Path(__file__).parents[2] / "slurm" / "submit.sh")
SBATCH = '#!/bin/bash\nprintf "%q " "$@" >>"$0.log"; echo >>"$0.log"; echo 17\n'


@pytest.fixture
def submit(tmp_path):
    (tmp_path / "bin").mkdir()
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.write_text(SBATCH)
    sbatch.chmod(0o755)

    def run(*words):
        path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", SUBMIT, *words], capture_output=True, text=True, timeout=60, cwd=tmp_path, env={"PATH": path}
        )
        log = tmp_path / "bin" / "sbatch.log"
        return done, log.read_text().splitlines() if log.exists() else []

    return run


def test_each_job_waits_for_those_it_starts_from_and_all_get_the_same_data(submit, tmp_path):
    (tmp_path / "my data").mkdir()
    done, jobs = submit("--small", "--data", "my data", "--skip-bad", "--", "--epochs", "1")
    assert done.returncode == 0, done.stderr
    data = str(tmp_path / "my data").replace(" ", "\\ ")
    assert [data in job for job in jobs] == [True] * 4
    assert ["--dependency" in job for job in jobs] == [False, True, True, True]
    assert "aftercorr:17 --array 0-3 slurm/train.sbatch stage2" in jobs[2]
    assert all(job.endswith("--skip-bad -- --epochs 1 ") for job in jobs[:3])
    assert jobs[3].endswith(f"slurm/predict.sbatch --small --data {data} ")


@pytest.mark.parametrize("words", [("--nonsense",), ("--data",), ("--data", "nowhere"), ("--only", "v2_stage1")])
def test_what_it_does_not_know_submits_nothing(submit, words):
    done, jobs = submit(*words)
    assert (done.returncode, jobs) == (2, [])
    assert "--help lists the options" in done.stderr
