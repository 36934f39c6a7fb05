"""What a script loads before its options are read: counted in modules, since seconds depend on the machine."""

import os
import subprocess
import sys

import pytest

from .conftest import FOLDERS, ROOT

HEAVY = (
    "torch timm albumentations cv2 scipy sklearn pandas pytorch_metric_learning matplotlib torchvision faiss openvino"
)
LOADED = f"print(sorted(set({HEAVY.split()}) & set(sys.modules)))"


def python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, timeout=60)


@pytest.mark.parametrize("module", ["noseprint", "noseprint.cli", "noseprint.step_inputs", "noseprint.lock"])
def test_the_package_and_its_command_load_nothing_heavy(module):
    done = python(f"import sys, {module}; {LOADED}")
    assert done.stdout == "[]\n", done.stderr


def test_decisions_about_labels_are_read_and_added_without_torch():
    done = python(f"import sys, noseprint.cleaning.label_files, noseprint.cleaning.sample; {LOADED}")
    assert done.stdout == "['cv2']\n", done.stderr


def test_every_recipes_options_are_read_before_anything_heavy_is_loaded():
    scripts = [str(path) for folder in FOLDERS for path in (ROOT / folder).glob("*.py")]
    scripts = [path for path in scripts if not path.endswith(("dataset.py", "model.py"))]
    done = python(
        f"""
import contextlib, io, runpy, sys
for script in sys.argv[1:]:
    for options, status in (["--help"], 0), (["--no-such-option"], 2):
        sys.argv = [script, *options]
        sys.path[0] = script.rpartition("/")[0]
        sys.modules.pop("model", None)
        with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(said):
            try:
                runpy.run_path(script, run_name="__main__")
            except SystemExit as end:
                assert end.code == status, (script, end.code)
{LOADED}
""",
        *scripts,
    )
    assert len(scripts) == 18
    assert done.stdout == "[]\n", done.stderr


def test_ctrl_c_while_a_script_loads_prints_one_line(tmp_path):
    (tmp_path / "torch.py").write_text(
        "import os, signal; os.kill(os.getpid(), signal.SIGINT); import time; time.sleep(9)"
    )
    script = ROOT / "v2_stage1" / "train.py"
    start = "import runpy, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    start += "sys.path[0] = sys.argv[1].rpartition('/')[0]; sys.path.insert(0, sys.argv[2]); sys.argv = sys.argv[1:2]\n"
    done = python(start + "runpy.run_path(sys.argv[0], run_name='__main__')", str(script), str(tmp_path))
    assert done.returncode == 130
    assert done.stderr == "interrupted: finished files are kept, and no file is left half-written\n"
