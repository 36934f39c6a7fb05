#!/usr/bin/env bash
# Fetches the images of lists from the web into a data folder, which train.sh and predict.sh then read.
#
#   bash recipes/product_hierarchy/fetch.sh --demo       try it on drawn goods: no network, a few seconds
#   bash recipes/product_hierarchy/fetch.sh --data DIR --train LIST --val LIST --test LIST
#
# A LIST is JSON, {"images": [{"id": 1, "url": "...", "class": "..."}, ...]}, or CSV with the columns id,url,class and,
# if it is known, sha256. Any of the three lists may be left out. The images of test need no class. DIR gets
# train/CLASS/ID.jpg, val/CLASS/ID.jpg and test/ID.jpg (or .png and so on, by the content), fetched.csv, which lists
# them, and missing.csv, which says why others are missing. After an interruption or a kill, the same command continues.
# It also retries failures that may have passed, such as a timeout. fetch/README.md says more.
#
#   --connections N   connections to one host at a time (default: 4)
#   --rate N          requests a second to one host, at most (default: 10)
#   --timeout S       seconds after which a try at an image is given up (default: 60)
#   --most-mb N       the largest file in MiB (default: 32)
#   --user-agent TEXT what the program calls itself; add an address where the owners of the hosts can reach you
#   --again           also retry images that were gone, broken or not an image
#   --allow-private   trust the lists: also read files of this machine (file://) and addresses of the local network, and
#                     use the proxy that the environment names
#   --offline         use no network: read only file:// URLs, and write missing.csv
#   --small           changes nothing here
#   --dry-run --help  as in train.sh

# shellcheck source=scripts/common.sh
source "$(dirname "$0")/../../scripts/common.sh"

FETCH=() LISTS=0
while [ $# -gt 0 ]; do
  CONSUMED=2
  case $1 in
    --train | --val | --test) require_value "$@"; FETCH+=("$1" "$(from_caller "$2")") LISTS=1 ;;
    --connections | --rate | --timeout | --most-mb | --user-agent) require_value "$@"; FETCH+=("$1" "$2") ;;
    --again | --allow-private | --offline) FETCH+=("$1") CONSUMED=1 ;;
    *) common_option "$@" ;;
  esac
  shift "$CONSUMED"
done
set_run
case $SIZE$LISTS in
  demo1) usage_error "--demo makes its own lists: leave out --train, --val and --test" ;;
  demo0) FETCH+=(--train data/demo_lists/train.csv --val data/demo_lists/val.csv --test data/demo_lists/test.csv) ;;
  *0) usage_error "name the lists: --train LIST, --val LIST, --test LIST; or try --demo" ;;
esac
set_up_python requirements.txt
if [ "$SIZE" = demo ]; then
  FETCH+=(--allow-private --offline)
  run_or_show python -c 'import shutil, sys
from pathlib import Path
from noseprint.command_line import friendly_errors
from noseprint.data.demo_goods import write_demo_goods, write_demo_lists
with friendly_errors():
    goods, lists, data = map(Path, sys.argv[1:])
    write_demo_goods(goods)
    write_demo_lists(goods, lists)
    data.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(goods / "tree.csv", data / "tree.csv")' data/demo_goods data/demo_lists "$DATA"
fi
run_or_show python fetch/fetch.py "${RUN_OPTIONS[@]}" ${FETCH[@]+"${FETCH[@]}"}
next=(bash "${PREFIX}train.sh")
case $SIZE in
  demo) next+=(--demo) ;;
  small) next+=(--small --data "$DATA") ;;
  full) next+=(--data "$DATA") ;;
esac
show_command "Next:" "${next[@]}"
