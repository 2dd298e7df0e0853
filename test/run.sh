#!/bin/sh
# Runs the test programs given as arguments and the scripts of test/interop and
# test/differential, $JOBS of them at a time (as many as there are processors), then prints a
# table of what those of test/interop played: other programs in front of real nodes. One line
# for each as it ends, with its whole log if it failed. SCRIPTS=none leaves the scripts out.
# The last line is "N passed, M failed": tests of the programs, failed programs and scripts.
set -u

cd "$(dirname "$0")/.." || exit 2
BUILD=${BUILD:-build}
JOBS=${JOBS:-$(nproc)}
export BUILD
logs=$BUILD/log
mkdir -p "$logs"
rm -f "$logs"/*.log "$logs"/*.count

for tool in asan lsan ubsan tsan; do # a sanitizer's known false alarms, if there are any
    [ -e "test/$tool.supp" ] || continue
    case $tool in
    asan) export ASAN_OPTIONS="suppressions=$PWD/test/asan.supp:${ASAN_OPTIONS:-}" ;;
    lsan) export LSAN_OPTIONS="suppressions=$PWD/test/lsan.supp:print_suppressions=0:${LSAN_OPTIONS:-}" ;;
    ubsan) export UBSAN_OPTIONS="suppressions=$PWD/test/ubsan.supp:${UBSAN_OPTIONS:-}" ;;
    tsan) export TSAN_OPTIONS="suppressions=$PWD/test/tsan.supp:${TSAN_OPTIONS:-}" ;;
    esac
done

scripts=
if [ "${SCRIPTS:-all}" = all ]; then
    for script in test/differential/test_*.py test/interop/*.py test/interop/*.js \
        test/interop/*.sh; do
        [ ! -f "$script" ] || scripts="$scripts $script"
    done
fi

# The scripts, which take longest, go first: a long one begun last would run alone.
# shellcheck disable=SC2086 # the scripts' names are words
printf '%s\n' $scripts "$@" | xargs -P "$JOBS" -I FILE sh test/run_one.sh FILE

# Of rows "PEER | DIRECTION | TRANSPORT | CASES | PASSED" in the scripts' logs: one for each
# peer, direction and transport played, whichever scripts did it.
for script in $scripts; do
    log=$logs/$(echo "${script#test/}" | tr / -).log
    [ ! -r "$log" ] || sed -n 's/^interop: //p' "$log"
done | awk -F ' [|] ' '
    function line(peer, direction, transport, cases, passed) {
        printf "%-38s  %-9s  %-9s  %5s  %6s\n", peer, direction, transport, cases, passed
    }
    { row = $1 SUBSEP $2 SUBSEP $3
      if (!(row in cases)) rows[++n] = row
      cases[row] += $4; passed[row] += $5; all += $4; all_passed += $5 }
    END { if (n == 0) exit
          print ""
          line("peer played", "direction", "transport", "cases", "passed")
          for (i = 1; i <= n; i++) {
              split(rows[i], part, SUBSEP)
              line(part[1], part[2], part[3], cases[rows[i]], passed[rows[i]]) }
          line("in all", "", "", all, all_passed)
          print "" }'

# What the JSON scanner, Python and Node made of the same documents, up to the sums.
for log in "$logs"/differential-*.log; do
    [ -n "$scripts" ] && [ -s "$log" ] && sed '/^$/q' "$log"
done

# "KIND PASSED FAILED ASSERTS" of each; one that left nothing failed.
# shellcheck disable=SC2086 # words
set -- $scripts "$@"
# shellcheck disable=SC2046
set -- $# $(cat "$logs"/*.count 2>/dev/null | awk '
    { n++; all[$1]++; good[$1] += $3 == 0; passed += $2; failed += $3; asserts += $4 }
    END { print n + 0, passed + 0, failed + 0, asserts + 0, all["program"] + 0,
                good["script"] + 0, all["script"] + 0 }')
lost=$(($1 - $2)) failed=$(($4 + $1 - $2))
[ "$lost" -eq 0 ] || echo "FAILED  $lost of $1 left no result"
[ -z "$scripts" ] || of_scripts=", $7 of $8 scripts"
echo "$6 programs, $5 asserts${of_scripts:-}"
echo "$3 passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$6" -gt 0 ]
