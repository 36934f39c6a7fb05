"""Gives damaged files and options to every reader for a given time: only documented errors may be raised.

    python tests/slow/fuzz.py --seconds 300 [--targets image png] [--finds DIR]

With atheris (pip install atheris) the damage is guided by the coverage of noseprint; without it, it is drawn from a
seed. Each target runs in a process of its own (Linux), with 3 GiB of memory more than the libraries take, and a minute
for each input. One line of JSON for each target gives the number of inputs tried and accepted. Each new kind of finding
is saved in DIR: the input, and the traceback beside it. The exit status is 1 if there are any.
"""

import argparse
import contextlib
import hashlib
import importlib.util
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import NoReturn

from fuzz_edits import damaged, random_edits

GUIDED = importlib.util.find_spec("atheris") is not None
if GUIDED:
    import atheris

with atheris.instrument_imports(["noseprint"]) if GUIDED else contextlib.nullcontext():
    from fuzz_targets import Target, targets

MEMORY = 3 * 2**30
INPUT_SECONDS = 60


class Run:
    """A run of one target: counts inputs, saves findings, and exits when its time is over."""

    def __init__(self, name: str, target: Target, *, seconds: float, finds: Path) -> None:
        self.name, self.target, self.finds = name, target, finds
        self.begin, self.begin_cpu, self.seconds = time.monotonic(), time.process_time(), seconds
        self.inputs = self.accepted = 0
        self.kinds: dict[str, str] = {}

    def one(self, data: bytes) -> None:
        """Read one input. It is in a file meanwhile, in case it kills the process."""
        (self.finds / "current").write_bytes(data)
        signal.alarm(INPUT_SECONDS)
        try:
            self.accepted += self.target.read(data)
        except Exception as error:
            self.keep(data, error)
        signal.alarm(0)
        self.inputs += 1
        if time.monotonic() - self.begin > self.seconds:
            self.leave()

    def keep(self, data: bytes, error: Exception) -> None:
        last = traceback.extract_tb(error.__traceback__)[-1]
        kind = f"{type(error).__name__} in {Path(last.filename).name}, line {last.lineno}"
        if kind not in self.kinds:
            self.kinds[kind] = str(error)[:200]
            file = self.finds / hashlib.sha256(kind.encode()).hexdigest()[:12]
            file.write_bytes(data)
            file.with_suffix(".txt").write_text("".join(traceback.format_exception(error)), errors="replace")

    def leave(self) -> NoReturn:
        (self.finds / "current").unlink()
        seconds = time.process_time() - self.begin_cpu
        report = {
            "target": self.name,
            "guided": GUIDED,
            "inputs": self.inputs,
            "accepted": self.accepted,
            "CPU seconds": round(seconds),
            "per CPU second": round(self.inputs / seconds, 1),
            "peak MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "finds": self.kinds,
        }
        print(json.dumps(report), flush=True)
        os._exit(1 if self.kinds else 0)  # libFuzzer has no other way out


def fuzz(name: str, *, seconds: float, finds: Path, seed: int) -> NoReturn:
    """Give inputs to one target until the time is over."""
    scratch = Path(os.environ["FUZZ_SCRATCH"])
    target = targets(scratch)[name]
    run = Run(name, target, seconds=seconds, finds=finds)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        own = random.Random(seed)
        if own.random() < 0.4:
            return atheris.Mutate(data, most)
        near = own.random() < 0.5  # almost valid inputs reach the decoders, whose coverage is not measured
        return damaged(own.choice(target.seeds) if near else data, random_edits(own))[:most]

    if GUIDED:
        corpus = scratch / "corpus"
        corpus.mkdir()
        for number, content in enumerate(target.seeds):
            (corpus / str(number)).write_bytes(content)
        most = 2 * max(map(len, target.seeds)) + 4096
        options = [f"-seed={seed + 1}", f"-max_len={most}", "-rss_limit_mb=0", "-timeout=0", "-verbosity=0"]
        atheris.Setup([sys.argv[0], *options, str(corpus)], run.one, custom_mutator=mutate)
        atheris.Fuzz()
    own = random.Random(seed)
    while True:
        run.one(damaged(own.choice(target.seeds), random_edits(own)))


def main() -> None:
    """Run each target in a process of its own, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        known = list(targets(Path(folder)))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", nargs="+", choices=known, default=known)
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--finds", type=Path, default=Path(tempfile.gettempdir(), "noseprint-finds"))
    options = parser.parse_args()
    if "FUZZ_SCRATCH" in os.environ:
        fuzz(options.targets[0], seconds=options.seconds, finds=options.finds, seed=options.seed)
    bad = False
    for name in options.targets:
        finds = options.finds / name.replace(" ", "-")
        finds.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.mkdtemp()
        command = [sys.executable, __file__, "--targets", name, "--finds", str(finds)]
        command += ["--seconds", str(options.seconds), "--seed", str(options.seed)]
        with (finds / "log").open("w") as log:
            done = subprocess.run(command, env=os.environ | {"FUZZ_SCRATCH": scratch}, stderr=log)
        shutil.rmtree(scratch)
        bad |= done.returncode != 0
        if (current := finds / "current").exists():
            died = current.rename(finds / f"died-{-done.returncode}")
            print(json.dumps({"target": name, "died": done.returncode, "input": str(died)}), flush=True)
    sys.exit(bad)


if __name__ == "__main__":
    main()
