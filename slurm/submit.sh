#!/usr/bin/env bash
# Submits the whole method to Slurm: pseudo-labels, then four networks side by side in two stages, then the answer.
#
#   bash slurm/submit.sh --data DIR            one GPU a network
#   bash slurm/submit.sh --small --data DIR    small networks, no GPU
#
#   --data DIR      the data folder, as for train.sh (default: data)
#   --small         small networks
#   --skip-bad      train without the photographs that are missing or broken
#   -- OPTION...    goes to each train.py, for example: -- --epochs 10
#
# What your cluster wants besides (partition, account, time) is read by sbatch from SBATCH_PARTITION, SBATCH_ACCOUNT and
# SBATCH_TIMELIMIT. Submitted again, finished steps are skipped, interrupted ones resume.
set -euo pipefail

wrong_option() { printf 'submit.sh: %s; bash slurm/submit.sh --help lists the options\n' "$*" >&2; exit 2; }

cd "$(dirname "$0")/.."
RESOURCES=(--cpus-per-task 12 --gpus 1) BOTH=() TRAIN=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  case $1 in
    --data)
      case ${2:-} in '' | --*) wrong_option "--data needs a value" ;; esac
      BOTH+=(--data "$(cd "$OLDPWD" && cd "$2" 2>/dev/null && pwd)") || wrong_option "--data $2: no such folder"
      shift 2 ;;
    --small) BOTH+=(--small) RESOURCES=(--cpus-per-task 2); shift ;;
    --skip-bad) TRAIN+=(--skip-bad); shift ;;
    -h | --help) sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p;}' slurm/submit.sh; exit ;;
    *) wrong_option "unknown option $1" ;;
  esac
done
TRAIN=(${BOTH[@]+"${BOTH[@]}"} ${TRAIN[@]+"${TRAIN[@]}"} "$@")

submit() { sbatch --parsable --kill-on-invalid-dep yes "${RESOURCES[@]}" "$@"; }

pseudo=$(submit slurm/train.sbatch --only pseudo_produce ${TRAIN[@]+"${TRAIN[@]}"})
stage1=$(submit --dependency "afterok:$pseudo" --array 0-3 slurm/train.sbatch stage1 ${TRAIN[@]+"${TRAIN[@]}"})
stage2=$(submit --dependency "aftercorr:$stage1" --array 0-3 slurm/train.sbatch stage2 ${TRAIN[@]+"${TRAIN[@]}"})  # each after its own stage 1
answer=$(submit --dependency "afterok:$stage2" slurm/predict.sbatch ${BOTH[@]+"${BOTH[@]}"})
echo "Submitted: pseudo-labels $pseudo, stage 1 $stage1, stage 2 $stage2, answer $answer. Their words: slurm-JOB.out"
