# shellcheck shell=bash disable=SC2034  # the scripts that read this file use its variables
# For train.sh and predict.sh: the trunks, the table, and the data of the demo.

DATA_GUIDE=${PREFIX}README.md
FULL_TRUNKS=vit_h
SMALL_TRUNKS=lite0,lite1,lite2
DEMO_TRUNKS=lite0,lite1
TRUNKS=()      # after set_trunks
TRUNK_LIST=""  # of --trunks
TABLE=""       # of --table
READ_TABLE=()  # after set_table: what prepare.py reads in the data folder

set_trunks() {  # after set_run: sets TRUNKS and TRUNK_LIST
  local name seen=, known
  known=$(sed -n 's/^    "\([^"]*\)": Trunk(.*/\1/p' frozen/model.py | tr '\n' ' ')
  case ${TRUNK_LIST:-$SIZE} in
    full) TRUNK_LIST=$FULL_TRUNKS ;;
    small) TRUNK_LIST=$SMALL_TRUNKS ;;
    demo) TRUNK_LIST=$DEMO_TRUNKS ;;
  esac
  case ,$TRUNK_LIST, in *,,*) usage_error "--trunks $TRUNK_LIST: a name is empty; delete a comma" ;; esac
  IFS=, read -r -a TRUNKS <<<"$TRUNK_LIST"
  for name in "${TRUNKS[@]}"; do
    case " $known" in *" $name "*) ;; *) usage_error "--trunks: there is no trunk $name; the trunks are $known" ;; esac
    case $seen in *",$name,"*) usage_error "--trunks: $name is named twice" ;; esac
    seen+=$name,
  done
}

table_option() {  # ARGUMENT...: reads the first option as common_option does; returns 1 if it is not of the table
  [ "$1" = --table ] || return 1
  require_value "$@"
  TABLE=$(from_caller "$2")
  [ -f "$TABLE" ] || usage_error "$1 $2: there is no such file"
  CONSUMED=2
}

make_demo_data() {
  run_or_show python -c 'import sys; from pathlib import Path
from noseprint.data.demo_instances import write_demo_instances
write_demo_instances(Path(sys.argv[1]))' "$DATA"
}
