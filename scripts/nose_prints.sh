# shellcheck shell=bash
# For the nose prints' train.sh, predict.sh and predict_ckpt.sh: the members, and the steps from scores to the answer.

read -r -a MEMBERS <<<"$(grep -v '^#' members.txt | paste -sd' ' -)"

select_members() {  # LIST, separated by commas, empty for all: sets SELECTED_MEMBERS, in the order of members.txt
  local name
  for name in ${1//,/ }; do
    case " ${MEMBERS[*]} " in
      *" $name "*) ;;
      *) usage_error "--members: there is no member $name, only ${MEMBERS[*]}" ;;
    esac
  done
  SELECTED_MEMBERS=()
  for name in "${MEMBERS[@]}"; do
    case ",${1:-$name}," in *",$name,"*) SELECTED_MEMBERS+=("$name") ;; esac
  done
  [ "${#SELECTED_MEMBERS[@]}" -gt 0 ] || usage_error "--members needs names"
}

check_method() {
  case $1 in mean | rank | calibrated) ;; *) usage_error "--method $1: choose mean, rank or calibrated" ;; esac
}

infer() {  # MEMBER OPTION...
  local member=$1
  shift
  [ "$SKIP_BAD" = 0 ] || set -- --skip-bad "$@"
  run_script "$(similarity_of "$member")" "${member}_stage2/infer.py" "${RUN_OPTIONS[@]}" "$@"
}

similarity_of() { printf '%s' "${1}_stage2/results${RUN:+/$RUN}/similarity.csv"; }  # MEMBER

lock_answer() {  # from here on no other run writes into results/RUN
  [ "$DRY_RUN" = 1 ] || lock_folder "results${RUN:+/$RUN}" "$SELF" || fail "nothing was started"
}

fuse() {  # METHOD MEMBER...: writes results/RUN/final_result.csv and copies it to final_result.csv
  local method=$1 member fuse=(python -m noseprint fuse) answer=results/${RUN:+$RUN/}final_result.csv
  shift
  for member; do fuse+=("$(similarity_of "$member")"); done
  run_or_show mkdir -p "results/$RUN"
  run_or_show "${fuse[@]}" --pairs "$DATA/test/test_data.csv" --out "$answer" --method "$method"
  run_or_show cp "$answer" final_result.csv
}

make_verifier() {  # MEMBER...: writes results/RUN/verifier.json for noseprint verify
  local calibrate=(python -m noseprint calibrate --data "$DATA" --where-possible)
  [ -z "$RUN" ] || calibrate+=(--run "$RUN")
  announce "Calibrating on the photographs that were held out of the training ..."
  run_or_show "${calibrate[@]}" --members "${@/%/_stage2}"
}

score() {  # MEMBER...: the report, with scores if the data has labels
  announce "Scoring, and writing the report ..."
  if [ "$SIZE" = demo ]; then
    make_report --frozen --members "${@/%/_stage2}"
  else
    make_report --members "${@/%/_stage2}"
  fi
  announce "The answer, with one row for each test pair, is in $ROOT/final_result.csv, which the next run overwrites," \
    "and in $ROOT/results/${RUN:+$RUN/}final_result.csv."
}

make_report() {  # OPTION...: writes results/RUN/report.html
  local report=(python -m noseprint report --data "$DATA")
  [ -z "$RUN" ] || report+=(--run "$RUN")
  [ "$SKIP_BAD" = 0 ] || report+=(--skip-bad)
  run_or_show "${report[@]}" "$@"
}
