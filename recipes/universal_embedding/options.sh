# shellcheck shell=bash disable=SC2034  # the scripts that read this file use its variables
# For train.sh and predict.sh: the backbones, the table, and the data of the demo.

DATA_GUIDE=${PREFIX}README.md
FULL_BACKBONES=vit_h
SMALL_BACKBONES=lite0,lite1,lite2
DEMO_BACKBONES=lite0,lite1
BACKBONES=()      # after set_backbones
BACKBONE_LIST=""  # of --backbones
TABLE=""          # of --table

set_backbones() {  # after set_run: sets BACKBONES and BACKBONE_LIST
  local name seen=, known
  known=$(sed -n 's/^    "\([^"]*\)": Backbone(.*/\1/p' frozen/model.py | tr '\n' ' ')
  case ${BACKBONE_LIST:-$SIZE} in
    full) BACKBONE_LIST=$FULL_BACKBONES ;;
    small) BACKBONE_LIST=$SMALL_BACKBONES ;;
    demo) BACKBONE_LIST=$DEMO_BACKBONES ;;
  esac
  case ,$BACKBONE_LIST, in *,,*) usage_error "--backbones $BACKBONE_LIST: a name is empty; delete a comma" ;; esac
  IFS=, read -r -a BACKBONES <<<"$BACKBONE_LIST"
  for name in "${BACKBONES[@]}"; do
    case " $known" in
      *" $name "*) ;;
      *) usage_error "--backbones: there is no backbone $name; choose from $known" ;;
    esac
    case $seen in *",$name,"*) usage_error "--backbones: $name is named twice" ;; esac
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
