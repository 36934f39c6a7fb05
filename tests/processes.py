"""Scripts in one process or two, as torchrun starts them. A server loads torch once for all: most take less time."""

import multiprocessing
import os
import runpy
import socket
import sys
from pathlib import Path

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["noseprint.tasks.phases", "noseprint.tasks.classification", "noseprint.data.transforms"])


def run_script(script: str | Path, *arguments: object, log: Path, ranks: int = 1) -> None:
    """Run a script, in `ranks` processes that compute together; `log` is a folder for what they print.

    Raises AssertionError, with what they printed, unless all end well within two minutes.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(ranks)} if ranks > 1 else {}
    words, logs = [str(script), *map(str, arguments)], [log / f"rank{rank}.log" for rank in range(ranks)]
    given = [
        {"WORDS": words, "ENVIRONMENT": world | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, "LOG": file}
        for rank, file in enumerate(logs)
    ]
    started = [  # by the path of this file: pytest need not have put it where the server can import it
        SERVER.Process(target=runpy.run_path, args=(__file__,), kwargs={"init_globals": one, "run_name": "rank"})
        for one in given
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(timeout=120)
    for process in started:
        process.kill()  # one waits for another that failed
    printed = "\n".join(file.read_text() for file in logs if file.is_file())
    codes = [process.exitcode for process in started]
    assert codes == [0] * ranks, f"exit codes {codes}\n{printed}"


def _run(words: list[str], environment: dict[str, str], log: Path) -> None:
    os.environ.update(environment)
    with log.open("w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    sys.argv = words
    runpy.run_path(words[0], run_name="__main__")


if __name__ == "rank":
    _run(WORDS, ENVIRONMENT, LOG)  # noqa: F821 - the globals that `run_script` gives
