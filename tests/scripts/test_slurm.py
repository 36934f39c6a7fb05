import os
import subprocess
from pathlib import Path

import pytest

SUBMIT = str(Path(__file__).parents[2] / "slurm" / "submit.sh")
SBATCH = '#!/bin/bash\nprintf "%q " "$@" >>"$0.log"; echo >>"$0.log"; wc -l <"$0.log"\n'  # prints the job's number


@pytest.fixture
def submit(tmp_path):
    (tmp_path / "bin").mkdir()
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.write_text(SBATCH)
    sbatch.chmod(0o755)

    def run(*args):
        path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", SUBMIT, *args], capture_output=True, text=True, timeout=60, cwd=tmp_path, env={"PATH": path}
        )
        log = tmp_path / "bin" / "sbatch.log"
        return done, log.read_text().splitlines() if log.exists() else []

    return run


def test_each_job_waits_for_the_jobs_it_starts_from_and_all_get_the_same_data(submit, tmp_path):
    (tmp_path / "my data").mkdir()
    done, jobs = submit("--small", "--data", "my data", "--skip-bad", "--", "--epochs", "1")
    assert done.returncode == 0, done.stderr
    data = str(tmp_path / "my data").replace(" ", "\\ ")
    expected = ["slurm/script.sbatch train.sh --only pseudo_produce"]  # job 1
    for job, name in zip((2, 4, 6, 8), ("swin224", "swin384", "v2", "b7ns"), strict=True):
        expected += [
            f"--dependency afterok:1 slurm/script.sbatch train.sh --only {name}_stage1",
            f"--dependency afterok:1:{job} slurm/script.sbatch train.sh --only {name}_stage2",
        ]
    expected = [f"{command} --small --data {data} --skip-bad -- --epochs 1" for command in expected]
    all_jobs = ":".join(map(str, range(1, 10)))
    expected.append(f"--dependency afterok:{all_jobs} slurm/script.sbatch predict.sh --small --data {data} --skip-bad")
    common = "--parsable --kill-on-invalid-dep yes --cpus-per-task 2 "
    assert [job.strip() for job in jobs] == [common + command for command in expected]


@pytest.mark.parametrize(
    "args", [("--nonsense",), ("--data",), ("--data", "nowhere"), ("--only", "v2_stage1"), ("recipes/nowhere",)]
)
def test_wrong_options_submit_nothing(submit, args):
    done, jobs = submit(*args)
    assert (done.returncode, jobs) == (2, [])
    assert "--help lists the options" in done.stderr
