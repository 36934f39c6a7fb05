#!/usr/bin/env bash
# Answers with the demo's networks where there is no network at all: in a network namespace without interfaces (Linux).
# Needs what `bash train.sh --demo` makes. strace, where there is one, also counts who asked for a network address.
#
#   bash tests/slow/no_network.sh

set -euo pipefail
cd "$(dirname "$0")/../.."
SCRATCH=$(mktemp -d)
trap 'rm -rf "$SCRATCH"' EXIT
export HOME=$SCRATCH  # no cache of a hub, no settings
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

watched() {  # COMMAND...: with no network; fails where it, or a process it started, asked for an internet address
  if command -v strace >/dev/null; then
    unshare -rn strace -f -qq -e trace=connect,sendto -o "$SCRATCH/calls" "$@"
    if grep -E 'sa_family=AF_INET6?' "$SCRATCH/calls"; then return 1; fi
  else
    unshare -rn "$@"
  fi
}

# The control: the watch bites.
if watched bash -c ': >/dev/tcp/192.0.2.1/80' >"$SCRATCH/control" 2>&1; then fail "there is a network"; fi
echo "control: $(tail -n 1 "$SCRATCH/control")"

mkdir "$SCRATCH/ckpts"
for member in $(grep -v '^#' members.txt); do
  weights=${member}_stage2/results/demo/best.safetensors
  [ -f "$weights" ] || fail "$weights is missing: bash train.sh --demo makes it"
  cp "$weights" "$SCRATCH/ckpts/${member}_stage2.safetensors"
done

answered() {  # SCRIPT ARGUMENT...
  rm -f final_result.csv
  watched bash "$@" >"$SCRATCH/log" 2>&1 || { cat "$SCRATCH/log"; fail "$*"; }
  [ "$(wc -l <final_result.csv)" = "$(wc -l <data/demo/test/test_data.csv)" ] || fail "$*: not one row a pair"
  echo "ok: $* ($(($(wc -l <final_result.csv) - 1)) pairs)"
}
answered predict.sh --demo
answered predict_ckpt.sh --ckpts "$SCRATCH/ckpts" --data data/demo
