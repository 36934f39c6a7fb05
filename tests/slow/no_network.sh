#!/usr/bin/env bash
# Runs predict.sh and predict_ckpt.sh in a network namespace without interfaces (Linux), with the networks that
# `bash train.sh --demo` has trained. With strace installed, it also fails if a process asks for a network address.
#
#   bash tests/slow/no_network.sh

set -euo pipefail
cd "$(dirname "$0")/../.."
SCRATCH=$(mktemp -d)
trap 'rm -rf "$SCRATCH"' EXIT
export HOME=$SCRATCH  # no cached weights, no settings
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

without_network() {  # COMMAND...: fails if it, or a process it started, asks for an internet address
  if command -v strace >/dev/null; then
    unshare -rn strace -f -qq -e trace=connect,sendto -o "$SCRATCH/calls" "$@"
    if grep -E 'sa_family=AF_INET6?' "$SCRATCH/calls"; then return 1; fi
  else
    unshare -rn "$@"
  fi
}

# The control: this must fail.
if without_network bash -c ': >/dev/tcp/192.0.2.1/80' >"$SCRATCH/control" 2>&1; then fail "there is a network"; fi
echo "control: $(tail -n 1 "$SCRATCH/control")"

mkdir "$SCRATCH/ckpts"
while read -r member; do
  weights=${member}_stage2/results/demo/best.safetensors
  [ -f "$weights" ] || fail "$weights is missing: bash train.sh --demo makes it"
  cp "$weights" "$SCRATCH/ckpts/${member}_stage2.safetensors"
done < <(grep -v '^#' members.txt)

must_answer() {  # SCRIPT ARGUMENT...
  rm -f final_result.csv
  without_network bash "$@" >"$SCRATCH/log" 2>&1 || { cat "$SCRATCH/log"; fail "$*"; }
  [ "$(wc -l <final_result.csv)" = "$(wc -l <data/demo/test/test_data.csv)" ] || fail "$*: there is not one row for each pair"
  echo "ok: $* ($(($(wc -l <final_result.csv) - 1)) pairs)"
}
must_answer predict.sh --demo
must_answer predict_ckpt.sh --ckpts "$SCRATCH/ckpts" --data data/demo
