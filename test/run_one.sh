#!/bin/sh
# Runs one test program or script for test/run.sh, which says where it is: `sh test/run_one.sh
# FILE`. Prints its line, and its whole log if it failed, and leaves what it counted in
# $BUILD/log/NAME.count: "KIND PASSED FAILED ASSERTS". Several run at once, so a lock keeps what
# they print apart.
set -u

file=$1
seconds_max=300
name=${file#"$BUILD"/test/}
name=${name#test/}
log=$BUILD/log/$(echo "$name" | tr / -).log

start=$(date +%s.%N)
case $file in
*.py) set -- /usr/bin/python3 "$file" ;; # Debian's, whose packages they import
*.js) set -- env NODE_PATH=/usr/share/nodejs node "$file" ;;
*.sh) set -- sh "$file" ;;
*) set -- "$file" ;;
esac
timeout -k 10 "$seconds_max" "$@" >"$log" 2>&1 </dev/null
status=$?
took=$(echo "$start $(date +%s.%N)" | awk '{ printf "%.2f", $2 - $1 }')

case $status in
0) why= ;;
124 | 137) why="killed after $seconds_max s" ;;
*) why="exit code $status" ;;
esac
[ -r "$log" ] || why="its log is gone: who removed $log?"

passed=0 failed=0 asserts=0
case $file in
*.py | *.js | *.sh)
    kind=script what=
    [ -z "$why" ] || failed=1
    ;;
*)
    # CUnit's summary: "tests Total Ran Passed Failed Inactive", "asserts Total Ran …"
    counts=$(awk '$1 == "tests" && NF == 6 { passed = $4; failed = $5 }
                  $1 == "asserts" { asserts = $2 }
                  END { print passed + 0, failed + 0, asserts + 0 }' "$log" 2>/dev/null)
    counts=${counts:-0 0 0}
    passed=${counts%% *} asserts=${counts##* } failed=${counts#* }
    failed=${failed% *}
    # also one that crashed before or after its tests, or ran none
    [ "$failed" -gt 0 ] || [ -z "$why" ] || failed=1
    [ $((passed + failed)) -gt 0 ] || failed=1 why="ran no test"
    kind=program
    what=$(printf '%4d tests %9d asserts' $((passed + failed)) "$asserts")
    ;;
esac

exec 9>"$BUILD/log/lock"
flock 9
word=ok
[ "$failed" -eq 0 ] || word=FAILED
printf '%-7s %-36s %25s %8s s\n' "$word" "$name" "$what" "$took"
if [ "$word" = FAILED ]; then
    [ -z "$why" ] || echo "FAILED  $name: $why"
    echo "---- $log"
    cat "$log"
    echo "----"
fi
echo "$kind $passed $failed $asserts" >"${log%.log}.count"
