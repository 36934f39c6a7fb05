# shellcheck shell=bash
# Which python the scripts use: the one on PATH where it has noseprint, else .venv of this checkout, made when needed.
# A stamp in .venv, written last, holds what was installed from: nothing is installed twice, a broken-off one is redone.

set_up() {  # REQUIREMENTS FILE...: from here on `python` is one that has noseprint
  local file
  if [ "$(command -v python)" != "$ROOT/.venv/bin/python" ] && python -c 'import noseprint' 2>/dev/null; then return; fi
  if [ "$DRY" = 1 ]; then
    for file; do stamped "$file" || say "set up python .venv with $file"; done
    BASE=$(find_python)
    python() { PYTHONPATH=$ROOT/src "$BASE" "$@"; }
    return
  fi
  for file; do
    if stamped "$file"; then continue; fi
    install "$@"
    break
  done
  PATH=$ROOT/.venv/bin:$PATH
}

install() {  # REQUIREMENTS FILE...
  local base file began
  base=$(find_python)
  exec 8>>.venv.lock  # held by what we start, too; whoever comes second waits and finds all done
  "$base" -c 'import fcntl, sys
try:
    fcntl.flock(8, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("Another run is setting up .venv: waiting for it.", flush=True)
    fcntl.flock(8, fcntl.LOCK_EX)'
  if [ ! -f .venv/requirements.txt.stamp ]; then  # none yet, or an installation broke off
    say "Making .venv with $base."
    "$base" -m venv --clear .venv
  fi
  PATH=$ROOT/.venv/bin:$PATH
  for file; do
    if stamped "$file"; then continue; fi
    say "Installing $file into .venv, once; with PyTorch it takes several GB and some minutes."
    began=$SECONDS
    rm -f ".venv/$file.stamp"
    python -m pip install --disable-pip-version-check --require-hashes -r "$file"
    python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .  # setuptools: the hashed one
    stamp "$file" >".venv/$file.part"
    mv ".venv/$file.part" ".venv/$file.stamp"
    say "Installed $file in $((SECONDS - began)) s."
  done
  exec 8>&-
}

stamp() { printf '%s\n' "$ROOT"; cat "$1" pyproject.toml; }
stamped() { stamp "$1" | cmp -s - ".venv/$1.stamp"; }

find_python() {
  local name
  for name in python3.11 python3.12 python3.13 python3; do
    if "$name" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      printf '%s' "$name"
      return
    fi
  done
  fail "no Python 3.11 or newer with its venv module is on PATH. Install one" \
    "(Debian, Ubuntu: apt install python3.11-venv; macOS: brew install python@3.11)," \
    "or activate an environment that has noseprint"
}
