# shellcheck shell=bash disable=SC2034  # the scripts that read this file use its variables
# For the families whose data are a folder of classes: the options of the table, what the steps read, and the demo.

TABLE=""          # of --table
TABLE_OPTIONS=()  # that say what the table means

table_option() {  # ARGUMENT...: reads the first option as common_option does; returns 1 if it is not of the table
  case $1 in
    --table)
      require_value "$@"
      TABLE=$(from_caller "$2")
      TABLE_OPTIONS+=("$1" "$TABLE") ;;
    --image-column | --label-column | --split-column | --group-column)
      require_value "$@"
      TABLE_OPTIONS+=("$1" "$2") ;;
    *) return 1 ;;
  esac
  CONSUMED=2
}

set_inputs() {  # after read_options: sets READ_TRAIN, READ_LEARNED and READ_ALL, which steps read in the data folder
  local name path word tables=()
  for name in images.csv labels.csv train.csv; do
    if [ -e "$DATA/$name" ]; then tables+=("$name"); fi
  done
  if [ -n "$TABLE" ]; then tables=("$TABLE"); fi
  if [ "$SIZE" = demo ]; then tables=(images.csv); fi  # which may not be there yet
  READ_TRAIN=(${tables[@]+"${tables[@]}"}) READ_LEARNED=() READ_ALL=()
  for path in "$DATA"/*/; do
    path=${path%/} name=${path##*/}
    if [ "$SIZE" = demo ]; then break; fi
    word=$(printf '%s' "$name" | tr '[:upper:]' '[:lower:]')
    case $word in  # the names that noseprint.data.class_folders knows; a table may name images in any other folder
      train | training) READ_TRAIN+=("$name") READ_LEARNED+=("$name") READ_ALL+=("$name") ;;
      val | valid | validation) READ_LEARNED+=("$name") READ_ALL+=("$name") ;;
      test | testing | unlabelled | unlabeled) READ_ALL+=("$name") ;;
      *)
        [ "${#tables[@]}" != 0 ] && [ "$name" != '*' ] || continue
        READ_TRAIN+=("$name") READ_LEARNED+=("$name") READ_ALL+=("$name") ;;
    esac
  done
  if [ "$SIZE" = demo ]; then
    READ_TRAIN+=(train) READ_LEARNED+=(train val) READ_ALL+=(train val test unlabelled)
  fi
  READ_LEARNED+=(${tables[@]+"${tables[@]}"}) READ_ALL+=(${tables[@]+"${tables[@]}"})
}

make_drawn_classes() {  # yes or no: whether labels are wrong, for a method that finds them
  run_or_show python -c 'import sys; from pathlib import Path; from noseprint.data.demo_classes import write_demo_classes
write_demo_classes(Path(sys.argv[1]), faults=sys.argv[2] == "yes")' "$DATA" "$1"
}

say_next() {  # NAME.sh: prints its command, with the same data
  local next=(bash "$PREFIX$1")
  case $SIZE in
    demo) next+=(--demo) ;;
    small) next+=(--small --data "$DATA" ${TABLE_OPTIONS[@]+"${TABLE_OPTIONS[@]}"}) ;;
    full) next+=(--data "$DATA" ${TABLE_OPTIONS[@]+"${TABLE_OPTIONS[@]}"}) ;;
  esac
  show_command "Next:" "${next[@]}"
}
