# shellcheck shell=bash disable=SC2034  # the scripts that read this file use its variables
# For clean.sh, train.sh and predict.sh: the members, the check of the data, and the data of the demo.

# shellcheck source=scripts/class_data.sh
source "$ROOT/scripts/class_data.sh"

ALL_MEMBERS=(b4 b5)
MEMBERS=("${ALL_MEMBERS[@]}")  # those that --members names
MEMBER_LIST=$(IFS=,; printf '%s' "${ALL_MEMBERS[*]}")

set_options() {  # after read_options: what the steps read, and the options that every Python script gets
  set_inputs
  RUN_OPTIONS+=(${TABLE_OPTIONS[@]+"${TABLE_OPTIONS[@]}"})
}

check_data() { run_or_show python check/find.py --data "$DATA" ${TABLE_OPTIONS[@]+"${TABLE_OPTIONS[@]}"}; }

make_demo_data() { make_drawn_classes yes; }
