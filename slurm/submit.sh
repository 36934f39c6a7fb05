#!/usr/bin/env bash
# Submits the whole method to Slurm: pseudo-labels, then four networks side by side in two stages, then the answer.
#
#   bash slurm/submit.sh --data DIR            one GPU a network
#   bash slurm/submit.sh --small --data DIR    small networks, no GPU
#
# The options are those of train.sh; what your cluster wants besides (partition, account, time) is read by sbatch from
# SBATCH_PARTITION, SBATCH_ACCOUNT, SBATCH_TIMELIMIT. Submitted again, finished steps are skipped, interrupted ones resume.
set -euo pipefail
cd "$(dirname "$0")/.."

case " $* " in
  *" --help "*) sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p;}' slurm/submit.sh; exit ;;
  *" --small "*) RESOURCES=(--cpus-per-task 2) ;;
  *) RESOURCES=(--cpus-per-task 12 --gpus 1) ;;
esac
PREDICT=()  # the options that predict.sh has, too
for ((i = 1; i <= $#; i++)); do
  case ${!i} in
    --small) PREDICT+=(--small) ;;
    --data) i=$((i + 1)); PREDICT+=(--data "${!i}") ;;
    --) break ;;
  esac
done

submit() { sbatch --parsable --kill-on-invalid-dep yes "${RESOURCES[@]}" "$@"; }

pseudo=$(submit slurm/train.sbatch --only pseudo_produce "$@")
stage1=$(submit --dependency "afterok:$pseudo" --array 0-3 slurm/train.sbatch stage1 "$@")
stage2=$(submit --dependency "aftercorr:$stage1" --array 0-3 slurm/train.sbatch stage2 "$@")  # each after its own stage 1
answer=$(submit --dependency "afterok:$stage2" slurm/predict.sbatch ${PREDICT[@]+"${PREDICT[@]}"})
echo "Submitted: pseudo-labels $pseudo, stage 1 $stage1, stage 2 $stage2, answer $answer. Their words: slurm-JOB.out"
