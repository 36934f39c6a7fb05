# shellcheck shell=bash disable=SC2034  # the scripts that read this file use its variables
# For train.sh and predict.sh: the members, the options of the table and of the tree, the data of the demo.

# shellcheck source=scripts/class_data.sh
source "$ROOT/scripts/class_data.sh"

FULL_MEMBERS=resnet50,resnet101,resnet152,densenet161,seresnext50
SMALL_MEMBERS=lite0,lite1,lite2
DEMO_MEMBERS=lite0
MEMBERS=()      # after set_members
MEMBER_LIST=""  # of --members
TREE=""         # of --tree, or tree.csv in the data folder
TREE_OPTIONS=() # --levels and --tree, for the scripts

tree_option() {  # ARGUMENT...: reads the first option as common_option does; returns 1 if it is not about the tree
  case $1 in
    --levels)
      require_value "$@"
      TREE_OPTIONS+=("$1" "$2") ;;
    --tree)
      require_value "$@"
      TREE=$(from_caller "$2")
      [ -f "$TREE" ] || usage_error "$1 $2: there is no such file"
      TREE_OPTIONS+=("$1" "$TREE") ;;
    *) return 1 ;;
  esac
  CONSUMED=2
}

set_members() {  # after set_run: sets MEMBERS and MEMBER_LIST
  local name seen=,
  case ${MEMBER_LIST:-$SIZE} in
    full) MEMBER_LIST=$FULL_MEMBERS ;;
    small) MEMBER_LIST=$SMALL_MEMBERS ;;
    demo) MEMBER_LIST=$DEMO_MEMBERS ;;
  esac
  case ,$MEMBER_LIST, in *,,*) usage_error "--members $MEMBER_LIST: a name is empty; delete a comma" ;; esac
  IFS=, read -r -a MEMBERS <<<"$MEMBER_LIST"
  for name in "${MEMBERS[@]}"; do
    case ",$FULL_MEMBERS,$SMALL_MEMBERS," in
      *",$name,"*) ;;
      *) usage_error "--members: there is no network $name; choose from $FULL_MEMBERS,$SMALL_MEMBERS" ;;
    esac
    case $seen in *",$name,"*) usage_error "--members: $name is named twice" ;; esac
    seen+=$name,
  done
}

set_options() {  # after set_run: sets what the steps read
  set_inputs
  if [ "$SIZE" = demo ]; then READ_TRAIN=(train) READ_LEARNED=(train val) READ_ALL=(train val test); fi
  if [ "$SIZE" = demo ] || { [ -z "$TREE" ] && [ -f "$DATA/tree.csv" ]; }; then TREE=$DATA/tree.csv; fi
}

make_demo_data() {  # unless fetch.sh --demo has
  [ ! -d "$DATA" ] || return 0
  run_or_show python -c 'import sys; from pathlib import Path; from noseprint.data.demo_goods import write_demo_goods
write_demo_goods(Path(sys.argv[1]))' "$DATA"
}
