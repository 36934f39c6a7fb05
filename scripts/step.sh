# shellcheck shell=bash
# One step of train.sh: whether it has to run, and what is left behind so that the next call knows.
#
# Beside its result, train.inputs holds the fingerprint of all that a started step depends on. When the step has ended
# well the file is renamed to train.done (pseudo.py: pseudo.inputs, pseudo.done). So a matching train.done means skip, a
# matching train.inputs means that it was interrupted, and anything else means run from the beginning.

FOLDERS="pseudo_produce ${MEMBERS// /_stage1 }_stage1 ${MEMBERS// /_stage2 }_stage2"
PLANNED=" "  # in a dry run: the steps that would run
COUNTING=0 STEPS=()  # while 1, step only notes its script in STEPS

step() {  # SCRIPT [SCRIPT whose result it starts from]...
  local script=$1 folder=${1%/*} made mark inputs need file print refusal state=run command
  shift
  selected "$folder" || return 0
  if [ "$COUNTING" = 1 ]; then STEPS+=("$script"); return; fi
  made=$(made_by "$script")
  mark=${made%/*}/$(basename "$script" .py)

  command=(python "$script" "${RUN[@]}")
  case $script in */train.py) command=(python "$script" "${TRAIN[@]}") ;; esac
  inputs=(--text="$script" --file "$DATA/train/train_data.csv" --images "$DATA/train/images")
  for need in "${command[@]:4}"; do inputs+=(--text="$need"); done  # from --data DIR on
  if [ "$script" != pseudo_produce/train.py ]; then
    inputs+=(--file "$DATA/validation/valid_data.csv" --images "$DATA/validation/images")
  fi
  [ "$SKIP_BAD" = 0 ] || command+=(--skip-bad)  # no input: what is done was done with sound photographs
  for file in "$folder"/*.py; do
    case ${file##*/} in train.py | pseudo.py | infer.py) [ "$file" = "$script" ] || continue ;; esac
    inputs+=(--file "$file")
  done
  if [ "$DRY" = 1 ] && [ ! -d "$DATA" ]; then state=later; fi  # the demo's, not made yet
  for need; do
    file=$(made_by "$need")
    inputs+=(--file "$file")
    case $PLANNED in *" $need "*) state=later; continue ;; esac
    if [ ! -f "$file" ] || [ -f "${file%/*}/$(basename "$need" .py).inputs" ]; then
      give_up "$script starts from $file, which is $([ -f "$file" ] && echo unfinished || echo missing);" \
        "make it with the same command and --only ${need%/*}"
    fi
  done

  if [ "$state" = later ]; then
    state=run
  else
    print=$(python -m noseprint.step_inputs "${inputs[@]}") || give_up "$script: its inputs cannot be read"
    [ "$DRY" = 1 ] || lock_results "$script"
    if [ "$FORCE" = 1 ]; then state=run
    elif [ -f "$made" ] && holds "$mark.done" "$print"; then state=skip
    elif holds "$mark.inputs" "$print"; then state=resume
    fi
  fi
  case $state:$script in run:*/train.py) command+=(--restart) ;; esac

  if [ "$DRY" = 1 ]; then
    show "$state" "${command[@]}"
    [ "$state" = skip ] || PLANNED="$PLANNED$script "
    return
  fi
  case $state in
    skip) say "== $(place_of "$script"), $script: done, skipped"; return ;;
    resume) say "== $(place_of "$script"), $script: resumes" ;;
    run) say "== $(place_of "$script"), $script: runs" ;;
  esac
  if [ "$state" = run ]; then
    mkdir -p "${made%/*}"
    rm -f "$mark.done"
    # Killed before its --restart takes hold, train.py must not find the state of older inputs to resume from.
    case $script in */train.py) rm -rf "${made%/*}/last" ;; esac
    if ! refusal=$({ printf '%s\n' "$print" >"$mark.part" && mv "$mark.part" "$mark.inputs"; } 2>&1); then
      rm -f "$mark.part"
      give_up "$mark.inputs cannot be written (${refusal##*: })"
    fi
  fi
  run_script "${command[@]:1}"
  mv "$mark.inputs" "$mark.done"
}

place_of() {  # SCRIPT: such as 2 of 10, in the order of the method
  local number
  for ((number = 0; number < ${#STEPS[@]}; number++)); do
    if [ "${STEPS[number]}" = "$1" ]; then printf '%s of %s' $((number + 1)) "${#STEPS[@]}"; fi
  done
}

lock_results() {  # SCRIPT: till the next step
  lock_folder "$(dirname "$(made_by "$1")")" "$SELF" "$1" || give_up "$1 was not started"
  export NOSEPRINT_LOCK=9
}

holds() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }

step_number() {
  case $1 in
    pseudo | pseudo_produce) printf 1 ;;
    stage1 | *_stage1) printf 2 ;;
    stage2 | *_stage2) printf 3 ;;
    *) wrong_option "no step $1: pseudo, stage1 or stage2" ;;
  esac
}

selected() {  # FOLDER
  local number
  number=$(step_number "$1")
  case ${ONLY:-" $1 "} in *" $1 "*) [ "$number" -ge "$FROM" ] && [ "$number" -le "$TO" ] ;; *) return 1 ;; esac
}

add_only() {  # FOLDER
  [ -n "$ONLY" ] || wrong_option "$1 belongs to no option"
  case " $FOLDERS " in *" ${1%/} "*) ;; *) wrong_option "--only: no folder ${1%/}, there are $FOLDERS" ;; esac
  ONLY="$ONLY${1%/} "
}
