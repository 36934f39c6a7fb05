# shellcheck shell=bash disable=SC2034  # the scripts that read this file use its variables
# For train.sh, measure.sh and predict.sh: the options of the table, the check of the data, and the data of the demo.

# shellcheck source=scripts/class_data.sh
source "$ROOT/scripts/class_data.sh"

PREPARED=""  # a data folder, which prepare makes and all later steps read

set_options() {  # after read_options or set_run: sets what the steps read, and names the groups of the demo
  [ "$SIZE" != demo ] || TABLE_OPTIONS=(--group-column photographer)
  set_inputs
  PREPARED=$FAMILY/prepare/results${RUN:+/$RUN}
}

check_data() {
  run_or_show python prepare/prepare.py "${RUN_OPTIONS[@]}" ${TABLE_OPTIONS[@]+"${TABLE_OPTIONS[@]}"} --check
}

make_demo_data() { make_drawn_classes no; }
