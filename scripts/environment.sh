# shellcheck shell=bash disable=SC2030,SC2031  # install works in a subshell, on purpose
# Chooses the python of the scripts: the one on PATH if it has noseprint, otherwise the one in the checkout's .venv.
# Makes .venv if it is missing. .venv/REQUIREMENTS.stamp records what was installed and is written last. So nothing is
# installed twice, and an interrupted installation is repeated.

set_up_python() {  # REQUIREMENTS FILE...: makes sure that `python` has noseprint
  local file
  if [ "$(command -v python)" != "$ROOT/.venv/bin/python" ] && python -c 'import noseprint' 2>/dev/null; then return; fi
  if [ "$DRY_RUN" = 1 ]; then
    for file; do is_installed "$file" || say "set up python .venv with $file"; done
    BASE_PYTHON=$(find_python)
    python() { PYTHONPATH=$ROOT/src "$BASE_PYTHON" "$@"; }
    return
  fi
  for file; do
    if is_installed "$file"; then continue; fi
    install "$@"
    break
  done
  PATH=$ROOT/.venv/bin:$PATH
}

install() (  # REQUIREMENTS FILE...: in a subshell, in the checkout
  cd "$ROOT"
  base=$(find_python)
  : 8>>.venv.lock || fail "$ROOT cannot be written, so .venv cannot be made; install requirements.txt elsewhere"
  exec 8>>.venv.lock  # programs that we start hold the lock, too; a second run waits, then finds everything installed
  "$base" -c 'import fcntl, sys
try:
    fcntl.flock(8, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("Another run is setting up .venv: waiting for it.", flush=True)
    fcntl.flock(8, fcntl.LOCK_EX)'
  if [ ! -f .venv/requirements.txt.stamp ]; then  # there is no .venv, or its installation was interrupted
    say "Making .venv with $base."
    "$base" -m venv --clear .venv
  fi
  PATH=$ROOT/.venv/bin:$PATH
  for file; do
    if is_installed "$file"; then continue; fi
    say "Installing $file into .venv, once. With PyTorch this takes several GB and a few minutes."
    started=$SECONDS
    rm -f ".venv/$file.stamp"
    python -m pip install --disable-pip-version-check --require-hashes -r "$file"
    python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .  # setuptools: the hashed one
    stamp_text "$file" >".venv/$file.part"
    mv ".venv/$file.part" ".venv/$file.stamp"
    say "Installed $file in $((SECONDS - started)) s."
  done
)

stamp_text() { printf '%s\n' "$ROOT"; cat "$ROOT/$1" "$ROOT/pyproject.toml"; }
is_installed() { stamp_text "$1" | cmp -s - "$ROOT/.venv/$1.stamp"; }

find_python() {
  local name
  for name in python3.11 python3.12 python3.13 python3; do
    if "$name" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      printf '%s' "$name"
      return
    fi
  done
  fail "found no Python 3.11 or newer on PATH that has its venv module. Install one" \
    "(Debian, Ubuntu: apt install python3.11-venv; macOS: brew install python@3.11)," \
    "or activate an environment that has noseprint"
}
