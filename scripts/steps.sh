# shellcheck shell=bash
# The mechanism behind every train.sh. It knows nothing about any method: each train.sh declares its method in a
# function called `method`, which uses
#
#   lane FUNCTION           calls FUNCTION, which consists of steps
#   lanes FUNCTION ITEM...  calls FUNCTION with each ITEM, up to --jobs of them at the same time
#   step STAGE FOLDER/SCRIPT [--part NAME] [--with OPTION...] [--reads PATH...] [--after STEP...] [--makes FILE]
#
# A step runs a script of a recipe folder. It depends on the files and folders PATH in the data folder, on the results
# of the steps that it comes after, on the Python files of its folder and on its options, to which --with adds. (Other
# scripts in the folder do not count: files that compare __name__ with "__main__".) It makes FILE (default:
# best.safetensors) in FOLDER/results/RUN; /FILE is in the family's own results/RUN. `method` is called first to learn
# the steps and later to run them.
#
# --after names a step by its FOLDER/SCRIPT. If several steps run one script, each is a part of it: the script gets
# --part NAME, its results lie in FOLDER/results/RUN/NAME, and --after names the step FOLDER/SCRIPT:NAME. There, *
# stands for any text: --after "FOLDER/SCRIPT:*" is after all parts.
#
# Every script takes --data DIR, --small, --run NAME and --skip-bad. A script called train.py also takes --restart, and
# the options that follow `--` on the command line.
#
# These functions of a train.sh are optional:
#
#   check_data           for --check: reports what is wrong with the data
#   describe_data        says before the first step what the method will make of the data
#   make_demo_data       for --demo: makes the data folder
#   demo_options FOLDER  for --demo: prints more options of the folder's train.py
#   takes_options FOLDER  whether the folder's train.py gets the options after `--`; without this function, each does
#   own_option ARG...    reads an option as common_option does; returns 1 if it does not know it
#
# When a step starts, the hash of everything that it depends on is written to train.inputs beside its result. When the
# step has succeeded, train.inputs is renamed to train.done. (Both are named after the script.) So a step is skipped if
# its train.done has the current hash. It was interrupted, and resumes, if its train.inputs has the current hash.
# Otherwise it starts from the beginning.

FROM="" TO="" ONLY=0 ONLY_FOLDERS=() FORCE=0 SKIP_BAD=0 CHECK=0 LIST=0
TRAIN_OPTIONS=()  # those after `--`

MODE=declare  # what `step` does: declare the step, or (only if it is selected) select, list or run it
STAGES=()     # in the order of the method
STEPS=()      # the names of all steps; their stages and results are in the same order
STEP_STAGES=() STEP_RESULTS=()
SELECTED=()   # the steps that --from, --to and --only leave
PLANNED=()    # in a dry run: the steps that would run
STAGE="" STEP="" SCRIPT="" PART="" FOLDER="" RESULT="" WITH=() READS=() AFTER=()  # the current step

# The command line.

read_options() {  # ARGUMENT...
  local word
  while [ $# -gt 0 ] && [ "$1" != -- ]; do
    CONSUMED=1
    case $1 in
      --from) require_value "$@"; FROM=$2 CONSUMED=2 ;;
      --to) require_value "$@"; TO=$2 CONSUMED=2 ;;
      --only) ONLY=1 ;;
      [!-]*)
        [ "$ONLY" = 1 ] || usage_error "$1 does not belong to an option"
        ONLY_FOLDERS+=("${1%/}") ;;
      --check) CHECK=1 ;;
      --force) FORCE=1 ;;
      --skip-bad) SKIP_BAD=1 ;;
      --list) LIST=1 ;;
      *) { has_function own_option && own_option "$@"; } || common_option "$@" ;;
    esac
    shift "$CONSUMED"
  done
  for word in "${@:2}"; do
    case ${word%%=*} in
      --) usage_error "-- may be given only once" ;;
      --run | --small | --data | --restart | -h | --help) usage_error "$word cannot follow --: $SELF sets it" ;;
    esac
    TRAIN_OPTIONS+=("$word")
  done
  [ "$CHECK" = 0 ] || has_function check_data || usage_error "this method has no --check"
  [ "$SIZE" != demo ] || has_function make_demo_data || usage_error "this method has no --demo"
  set_run
  set_jobs
  select_steps
  if [ "$LIST" = 1 ]; then
    MODE=list
    method
    exit
  fi
}

select_steps() {
  local folder
  method
  FROM=$(stage_number "${FROM:-${STAGES[0]}}")
  TO=$(stage_number "${TO:-${STAGES[${#STAGES[@]} - 1]}}")
  [ "$FROM" -le "$TO" ] || usage_error "--from comes after --to"
  [ "$ONLY" = 0 ] || [ "${#ONLY_FOLDERS[@]}" != 0 ] || usage_error "--only needs folders"
  for folder in ${ONLY_FOLDERS[@]+"${ONLY_FOLDERS[@]}"}; do
    contains "$folder" "${STEPS[@]%/*}" || usage_error "--only: there is no folder $folder; --list shows the folders"
  done
  MODE=select
  method
  [ "${#SELECTED[@]}" != 0 ] || usage_error "--only, --from and --to leave nothing to run"
}

stage_number() {  # STAGE or FOLDER: prints the stage's index in STAGES; a folder stands for the stage of its first step
  local i
  if index_of "${1%/}" "${STAGES[@]}"; then return; fi
  for ((i = 0; i < ${#STEPS[@]}; i++)); do
    [ "${STEPS[i]%/*}" = "${1%/}" ] || continue
    index_of "${STEP_STAGES[i]}" "${STAGES[@]}"
    return
  done
  usage_error "there is no stage $1; the stages are ${STAGES[*]}"
}

index_of() {  # VALUE ITEM...: prints the index of VALUE among the items; returns 1 if it is not among them
  local value=$1 item i=0
  shift
  for item; do
    if [ "$item" = "$value" ]; then printf '%s' "$i"; return; fi
    i=$((i + 1))
  done
  return 1
}

contains() { index_of "$@" >/dev/null; }  # VALUE ITEM...

has_function() { declare -F "$1" >/dev/null; }  # NAME

check_options() {  # FOLDER/SCRIPT OPTION...: ends unless the script takes these options; for describe_data
  if [ "$ONLY" = 1 ] && ! contains "${1%/*}" "${ONLY_FOLDERS[@]}"; then return; fi
  NOSEPRINT_CHECK_OPTIONS=1 python "$1" "${RUN_OPTIONS[@]}" "${@:2}" || fail "nothing was started"
}

# The method.

run_method() {  # PATH...: what the data folder must contain, unless the demo makes it
  if [ "$CHECK" = 1 ]; then
    set_up_python requirements.txt
    check_data
    exit
  fi
  [ "$SIZE" = demo ] || need_data "$@"
  set_up_python requirements.txt
  [ "$SIZE" != demo ] || make_demo_data
  if [ "$DRY_RUN" = 0 ] && has_function describe_data; then describe_data; fi
  MODE=run
  method
}

method_is_complete() { [ "$ONLY" = 0 ] && [ "$TO" = $((${#STAGES[@]} - 1)) ]; }  # no later steps were left out

continue_with() {  # NAME.sh, of the same family: in the demo, runs it with the same options; else prints the command
  local next=(bash "$PREFIX$1")
  case $SIZE in
    demo) next+=(--demo) ;;
    small) next+=(--small --data "$DATA") ;;
    full) next+=(--data "$DATA") ;;
  esac
  [ "$JOBS" = 1 ] || next+=(--jobs "$JOBS")
  [ -z "$GPUS" ] || next+=(--gpus "$GPUS")
  if [ "$DRY_RUN" = 1 ]; then
    if [ "$SIZE" = demo ]; then show_command run "${next[@]}"; else show_command next "${next[@]}"; fi
  elif [ "$SIZE" = demo ]; then
    cd "$ROOT" && exec "${next[@]}"
  else
    show_command "Trained. Next:" "${next[@]}"
  fi
}

lane() { lanes "$1" ""; }  # FUNCTION

lanes() {  # FUNCTION ITEM...
  local function=$1 item items=()
  shift
  if [ "$MODE" != run ]; then
    for item; do "$function" "$item"; done
    return
  fi
  MODE=list  # an item without selected steps must not occupy a lane and its GPU
  for item; do
    if [ -n "$("$function" "$item")" ]; then items+=("$item"); fi
  done
  MODE=run
  [ "${#items[@]}" = 0 ] || run_in_lanes "$JOBS" "$function" "${items[@]}"
}

step() {  # STAGE FOLDER/SCRIPT [--part NAME] [--with OPTION...] [--reads PATH...] [--after STEP...] [--makes FILE]
  local word option="" file=best.safetensors
  STAGE=$1 SCRIPT=$2 FOLDER=${2%/*} PART="" WITH=() READS=() AFTER=()
  shift 2
  for word; do
    case $option:$word in
      *:--part | *:--with | *:--reads | *:--after | *:--makes) option=$word ;;
      --part:*) PART=$word ;;
      --with:*) WITH+=("$word") ;;
      --reads:*) READS+=("$word") ;;
      --after:*) add_steps_before "$word" ;;
      --makes:*) file=$word ;;
      *) fail "step $SCRIPT: unknown option $word" ;;
    esac
  done
  STEP=$SCRIPT${PART:+:$PART}
  RESULT=$FOLDER/results${RUN:+/$RUN}${PART:+/$PART}/$file
  case $file in /*) RESULT=results${RUN:+/$RUN}$file ;; esac
  if [ "$MODE" = declare ]; then
    ! contains "$STEP" ${STEPS[@]+"${STEPS[@]}"} || fail "step $STEP: declared twice; give each --part another name"
    contains "$STAGE" ${STAGES[@]+"${STAGES[@]}"} || STAGES+=("$STAGE")
    STEPS+=("$STEP") STEP_STAGES+=("$STAGE") STEP_RESULTS+=("$RESULT")
  elif is_selected; then
    case $MODE in
      select) SELECTED+=("$STEP") ;;
      list) say "$STAGE $STEP${AFTER[*]+ after ${AFTER[*]}}" ;;
      run) run_step ;;
    esac
  fi
}

add_steps_before() {  # PATTERN: adds the declared steps that fit it to AFTER
  local step found=0
  for step in ${STEPS[@]+"${STEPS[@]}"}; do
    # shellcheck disable=SC2254  # a pattern
    case $step in $1) AFTER+=("$step") found=1 ;; esac
  done
  [ "$found" = 1 ] || fail "step $SCRIPT: --after $1, but no step above it runs $1"
}

is_selected() {
  local number
  number=$(stage_number "$STAGE")
  [ "$number" -ge "$FROM" ] && [ "$number" -le "$TO" ] || return 1
  [ "$ONLY" = 0 ] || contains "$FOLDER" "${ONLY_FOLDERS[@]}"
}

# Running a step.

run_step() {
  local mark hash="" state=run inputs_known=1 command=() inputs=() step number error
  mark=${RESULT%/*}/$(basename "$SCRIPT" .py)
  set_command_and_inputs
  if [ "$DRY_RUN" = 1 ] && [ ! -d "$DATA" ]; then inputs_known=0; fi  # the demo's data is not made yet
  for step in ${AFTER[@]+"${AFTER[@]}"}; do
    if contains "$step" ${PLANNED[@]+"${PLANNED[@]}"}; then inputs_known=0; else require_result "$step"; fi
  done
  if [ "$inputs_known" = 1 ]; then
    hash=$(python -m noseprint.step_inputs "${inputs[@]}") || fail_lane "$STEP: its inputs cannot be read"
    [ "$DRY_RUN" = 1 ] || lock_results
    if [ "$FORCE" = 1 ]; then state=run
    elif [ -f "$RESULT" ] && has_text "$mark.done" "$hash"; then state=skip
    elif has_text "$mark.inputs" "$hash"; then state=resume
    fi
  fi
  if is_training && [ "$state" = run ]; then command+=(--restart); fi

  if [ "$DRY_RUN" = 1 ]; then
    show_command "$state" "${command[@]}"
    [ "$state" = skip ] || PLANNED+=("$STEP")
    return
  fi
  number=$(($(index_of "$STEP" "${SELECTED[@]}") + 1))
  case $state in
    skip) say "== $number of ${#SELECTED[@]}, $STEP: done, skipped"; return ;;
    resume) say "== $number of ${#SELECTED[@]}, $STEP: resumes" ;;
    run) say "== $number of ${#SELECTED[@]}, $STEP: runs$(why_again "$mark.done")" ;;
  esac
  if [ "$state" = run ]; then
    mkdir -p "${RESULT%/*}"
    rm -f "$mark.done"
    # If train.py is killed before it acts on --restart, it must not resume later from the state of older inputs.
    # The same holds for the trainings that a train.py nests.
    if is_training; then rm -rf "${RESULT%/*}"/{last,proof/training/last,all_images/last} "${RESULT%/*}"/[0-9]-*/last; fi
    if ! error=$({ printf '%s\n' "$hash" >"$mark.part" && mv "$mark.part" "$mark.inputs"; } 2>&1); then
      rm -f "$mark.part"
      fail_lane "$(of_family "$mark.inputs") cannot be written (${error##*: })"
    fi
  fi
  run_script "$RESULT" "${command[@]:1}"
  mv "$mark.inputs" "$mark.done"
}

why_again() {  # FILE.done: prints why a step that had finished runs again, and how to keep its result
  local next
  if [ "$FORCE" = 1 ] || [ ! -f "$1" ] || [ ! -f "$RESULT" ]; then return; fi
  next=$(($(index_of "$STAGE" "${STAGES[@]}") + 1))
  printf ' again, as its options or inputs have changed'
  [ "$next" = "${#STAGES[@]}" ] || printf '; to keep its result, stop this and use --from %s' "${STAGES[next]}"
}

is_training() { [ "${SCRIPT##*/}" = train.py ]; }

set_command_and_inputs() {  # run_step's `command`, and `inputs`: what noseprint.step_inputs hashes
  local word words=()
  command=(python "$SCRIPT" "${RUN_OPTIONS[@]}" ${WITH[@]+"${WITH[@]}"})
  [ -z "$PART" ] || command+=(--part "$PART")
  if is_training; then
    if [ "$SIZE" = demo ] && has_function demo_options; then
      read -r -a words <<<"$(demo_options "$FOLDER")"
      command+=("${words[@]}")
    fi
    if ! has_function takes_options || takes_options "$FOLDER"; then
      command+=(${TRAIN_OPTIONS[@]+"${TRAIN_OPTIONS[@]}"})
    fi
  fi
  inputs=("--text=$SCRIPT")
  for word in "${command[@]:4}"; do inputs+=("--text=$word"); done  # not --data DIR: the data may move
  [ "$SKIP_BAD" = 0 ] || command+=(--skip-bad)  # not an input: finished steps found no bad photographs
  for word in ${READS[@]+"${READS[@]}"}; do
    case $word in /*) inputs+=("$word") ;; *) inputs+=("$DATA/$word") ;; esac
  done
  for word in "$FOLDER"/*.py; do
    if [ "$word" = "$SCRIPT" ] || ! grep -q '^if __name__ == "__main__"' "$word"; then inputs+=("$word"); fi
  done
  for word in ${AFTER[@]+"${AFTER[@]}"}; do inputs+=("$(result_of "$word")"); done
}

result_of() { printf '%s' "${STEP_RESULTS[$(index_of "$1" "${STEPS[@]}")]}"; }  # STEP

require_result() {  # STEP: it has run to its end
  local result script=${1%:*} problem
  result=$(result_of "$1")
  if [ ! -f "$result" ]; then problem=missing
  elif [ -f "${result%/*}/$(basename "$script" .py).inputs" ]; then problem=unfinished
  else return 0
  fi
  fail_lane "$STEP starts from $(of_family "$result"), which is $problem; make it with the same command and" \
    "--only ${script%/*}"
}

lock_results() {  # until the next step
  lock_folder "${RESULT%/*}" "$SELF" "$STEP" || fail_lane "$STEP was not started"
  export NOSEPRINT_LOCK=9
}

has_text() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }  # FILE TEXT
