#!/usr/bin/env bash
# Submits a whole method to Slurm: one job for each recipe folder, and one for the answer. Each job waits for the jobs
# whose results it needs.
#
#   bash slurm/submit.sh --data DIR                    the nose prints, one GPU for each job
#   bash slurm/submit.sh --small --data DIR            small networks, no GPU
#   bash slurm/submit.sh recipes/FAMILY --data DIR     another family
#
#   --data DIR      the data folder, as for train.sh (default: data)
#   --small         small networks
#   --skip-bad      train and answer without missing or broken photographs
#   -- OPTION...    pass options to each train.py, for example: -- --epochs 10
#
# sbatch reads what else your cluster needs (partition, account, time) from SBATCH_PARTITION, SBATCH_ACCOUNT and
# SBATCH_TIMELIMIT. If you submit again, finished steps are skipped and interrupted ones resume.
set -euo pipefail

usage_error() { printf 'submit.sh: %s; bash slurm/submit.sh --help lists the options\n' "$*" >&2; exit 2; }

cd "$(dirname "$0")/.."
RESOURCES=(--cpus-per-task 12 --gpus 1) FAMILY="" OPTIONS=() SKIP_BAD=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  case $1 in
    --data)
      case ${2:-} in '' | --*) usage_error "--data needs a value" ;; esac
      OPTIONS+=(--data "$(cd "$OLDPWD" && cd "$2" 2>/dev/null && pwd)") || usage_error "--data $2: no such folder"
      shift 2 ;;
    --small) OPTIONS+=(--small) RESOURCES=(--cpus-per-task 2); shift ;;
    --skip-bad) SKIP_BAD=(--skip-bad); shift ;;
    -h | --help) sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p;}' slurm/submit.sh; exit ;;
    -*) usage_error "unknown option $1" ;;
    *)
      [ -f "$1/train.sh" ] || usage_error "$1 has no train.sh"
      FAMILY=${1%/}/
      shift ;;
  esac
done

submit() {  # SCRIPT JOBS-TO-WAIT-FOR OPTION...: prints the job's number
  local script=$1 wait_for=$2
  shift 2
  sbatch --parsable --kill-on-invalid-dep yes "${RESOURCES[@]}" ${wait_for:+--dependency "afterok$wait_for"} \
    slurm/script.sbatch "$FAMILY$script" "$@"
}

# A line for each folder: its name, and the folders that its steps come after.
folders=$(bash "${FAMILY}train.sh" --list | sed 's|/[^ ]*||g' | awk '
  !($2 in after) { order[n++] = $2 }
  { for (i = 4; i <= NF; i++) if ($i != $2) after[$2] = after[$2] " " $i; after[$2] = after[$2] "" }
  END { for (i = 0; i < n; i++) print order[i] after[order[i]] }')
jobs=" " all=""
while read -r folder after; do
  wait_for=""
  for earlier in $after; do
    case $jobs in *" $earlier="*) ;; *) usage_error "$folder has steps before and after those of $earlier" ;; esac
    job=${jobs#*" $earlier="}
    wait_for="$wait_for:${job%% *}"
  done
  job=$(submit train.sh "$wait_for" --only "$folder" ${OPTIONS[@]+"${OPTIONS[@]}"} ${SKIP_BAD[@]+"${SKIP_BAD[@]}"} "$@")
  echo "Submitted $folder: job $job"
  jobs="$jobs$folder=$job " all="$all:$job"
done <<<"$folders"
job=$(submit predict.sh "$all" ${OPTIONS[@]+"${OPTIONS[@]}"} ${SKIP_BAD[@]+"${SKIP_BAD[@]}"})
echo "Submitted predict.sh: job $job. The output of each job is in slurm-JOB.out"
