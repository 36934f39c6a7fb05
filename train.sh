#!/usr/bin/env bash
# Trains the whole method: pseudo-labels, then four networks, each in two stages.
#
#   bash train.sh --demo                try the method on synthetic nose prints: five minutes, no GPU
#   bash train.sh --small --data DIR    small networks, for a machine without a GPU
#   bash train.sh [--data DIR]          the method at full size (its authors needed 27 h on one RTX 3090)
#
# Finished steps whose inputs have not changed are skipped. Interrupted steps resume.
#
#   --data DIR        the data folder, laid out as data/README.md says (default: data)
#   --from STAGE      begin with this stage: pseudo, stage1 or stage2
#   --to STAGE        end with this stage
#   --only FOLDER...  run only these folders, for example: --only swin224_stage1 v2_stage1
#   --gpus 0,1        use these GPUs, one job on each
#   --jobs N          train N networks at the same time (default: one for each of --gpus; without a GPU, two small
#                     ones on Linux with 2 cores and 8 GB of free memory; else 1)
#   --check           check the tables and photographs, report every problem, train nothing
#   --force           run finished steps again
#   --skip-bad        train without missing or broken photographs, and list them
#   --list            list the steps and what each comes after; run nothing
#   --dry-run         show every command and whether it would run; change nothing
#   --help            show this text
#   -- OPTION...      pass options to each train.py, for example: -- --epochs 10

source "$(dirname "$0")/scripts/common.sh"
source "$ROOT/scripts/steps.sh"
source "$ROOT/scripts/nose_prints.sh"

# The method. scripts/steps.sh explains `step`, `lane` and `lanes`.

LABELLED=(train/train_data.csv train/images)
ALL=("${LABELLED[@]}" validation/valid_data.csv validation/images)

pseudo_labels() {
  step pseudo pseudo_produce/train.py --reads "${LABELLED[@]}"
  step pseudo pseudo_produce/pseudo.py --reads "${ALL[@]}" --after pseudo_produce/train.py --makes pseudo.csv
}

network() {  # MEMBER
  step stage1 "$1_stage1/train.py" --reads "${ALL[@]}" --after pseudo_produce/pseudo.py
  step stage2 "$1_stage2/train.py" --reads "${ALL[@]}" --after pseudo_produce/pseudo.py "$1_stage1/train.py"
}

method() {
  lane pseudo_labels
  lanes network "${MEMBERS[@]}"
}

check_data() { run_or_show python -m noseprint check "$DATA"; }

describe_data() { [ "$SIZE" = demo ] || python -m noseprint check --plan "$DATA"; }

make_demo_data() { run_or_show python -m noseprint demo-data "$DATA"; }

demo_options() {  # FOLDER: options of its train.py; swin224 and swin384 share a small backbone and differ in size
  local size=128
  case $1 in swin384_*) size=160 ;; esac
  echo --epochs 2 --batch-size 32 --lr 5e-4 --image-size "$size" --train-size "$size"
}

read_options "$@"
run_method train/train_data.csv validation/valid_data.csv test/test_data.csv
method_is_complete || exit 0
[ "$SIZE" = demo ] || make_report --no-scores
continue_with predict.sh
