#!/bin/sh
# Runs the test programs given as arguments, one after the other, then the scripts of
# test/interop and test/differential, and prints a table of what those of test/interop played:
# other programs in front of real nodes. One line per program; a failing program's log in
# full. The last line is "N passed, M failed": tests of the programs, failed programs and
# scripts.
set -u

cd "$(dirname "$0")/.." || exit 2
BUILD=${BUILD:-build}
export BUILD
seconds_max=300
logs=$BUILD/log
mkdir -p "$logs"

for tool in asan lsan ubsan tsan; do # a sanitizer's known false alarms, if there are any
    [ -e "test/$tool.supp" ] || continue
    case $tool in
    asan) export ASAN_OPTIONS="suppressions=$PWD/test/asan.supp:${ASAN_OPTIONS:-}" ;;
    lsan) export LSAN_OPTIONS="suppressions=$PWD/test/lsan.supp:print_suppressions=0:${LSAN_OPTIONS:-}" ;;
    ubsan) export UBSAN_OPTIONS="suppressions=$PWD/test/ubsan.supp:${UBSAN_OPTIONS:-}" ;;
    tsan) export TSAN_OPTIONS="suppressions=$PWD/test/tsan.supp:${TSAN_OPTIONS:-}" ;;
    esac
done

passed=0 failed=0 asserts=0 programs=0 scripts=0 scripts_ok=0

# Runs "$@" into $log; sets $status and $took (seconds).
run() {
    start=$(date +%s.%N)
    timeout -k 10 "$seconds_max" "$@" >"$log" 2>&1 </dev/null
    status=$?
    took=$(echo "$start $(date +%s.%N)" | awk '{printf "%.2f", $2 - $1}')
}

# Shows why the program or script $1 failed.
show() {
    case $status in
    0) ;;
    124 | 137) echo "FAILED  $1: killed after $seconds_max s" ;;
    *) echo "FAILED  $1: exit code $status" ;;
    esac
    echo "---- $log"
    cat "$log"
    echo "----"
}

for program in "$@"; do
    name=${program#"$BUILD"/test/}
    log=$logs/$(echo "$name" | tr / -).log
    programs=$((programs + 1))
    run "$program"
    # CUnit's summary: "tests Total Ran Passed Failed Inactive", "asserts Total Ran …"
    counts=$(awk '$1 == "tests" && NF == 6 { passed = $4; failed = $5 }
                  $1 == "asserts" { asserts = $2 }
                  END { print passed + 0, failed + 0, asserts + 0 }' "$log")
    tests_passed=${counts%% *} rest=${counts#* }
    tests_failed=${rest%% *} tests_asserts=${rest#* }
    word=ok
    if [ "$status" -ne 0 ] || [ "$tests_failed" -ne 0 ] || [ "$tests_passed" -eq 0 ]; then
        word=FAILED # also one that crashed before or after its tests, or ran none
        [ "$tests_failed" -gt 0 ] || tests_failed=1
    fi
    passed=$((passed + tests_passed))
    failed=$((failed + tests_failed))
    asserts=$((asserts + tests_asserts))
    printf '%-7s %-36s %4d tests %9d asserts %8s s\n' "$word" "$name" \
        $((tests_passed + tests_failed)) "$tests_asserts" "$took"
    [ "$word" = ok ] || show "$name"
done

table=$logs/interop # rows "PEER | DIRECTION | TRANSPORT | CASES | PASSED" of all scripts
: >"$table"
for script in test/interop/*.py test/interop/*.js test/interop/*.sh \
    test/differential/test_*.py; do
    [ -f "$script" ] || continue
    name=${script#test/}
    log=$logs/$(echo "$name" | tr / -).log
    scripts=$((scripts + 1))
    case $script in
    *.py) run /usr/bin/python3 "$script" ;; # Debian's, whose packages they import
    *.js) run env NODE_PATH=/usr/share/nodejs node "$script" ;;
    *.sh) run sh "$script" ;;
    esac
    sed -n 's/^interop: //p' "$log" >>"$table"
    word=ok
    if [ "$status" -eq 0 ]; then
        scripts_ok=$((scripts_ok + 1))
    else
        word=FAILED
        failed=$((failed + 1))
    fi
    printf '%-7s %-36s %34s s\n' "$word" "$name" "$took"
    [ "$word" = ok ] || show "$name"
done

# One row for each peer, direction and transport played, whichever scripts did it.
awk -F ' [|] ' '
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
          print "" }' "$table"

# What the JSON scanner, Python and Node made of the same documents, up to the sums.
for log in "$logs"/differential-*.log; do
    [ -s "$log" ] && sed '/^$/q' "$log"
done

[ "$scripts" -eq 0 ] || of_scripts=", $scripts_ok of $scripts scripts"
echo "$programs programs, $asserts asserts${of_scripts:-}"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$programs" -gt 0 ]
