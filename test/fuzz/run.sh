#!/bin/sh
# Runs every fuzz target in $1/fuzzers for $FUZZ_SECONDS, $FUZZ_JOBS at a time, then replays
# all inputs, old and new, and prints the line coverage of each parser. Fails when a target
# crashed, could not run, or a parser's coverage is below 90 %. What was found stays in $1:
# corpus/TARGET (the next run goes on from there), crashes/TARGET-…, log/TARGET.
set -u

cd "$(dirname "$0")/../.." || exit 2
work=$1
seconds=${FUZZ_SECONDS:-60}
jobs=${FUZZ_JOBS:-2}
coverage_min=90
parsers="peers/json.c peers/json_keys.c peers/json_read.c peers/json_write.c
    peers/envelope.c peers/batch.c peers/control.c peers/wire.c peers/wire_time.c
    peers/canonical.c peers/canonical_number.c peers/names.c peers/query.c peers/config_yaml.c peers/config_value.c
    peers/delivery.c peers/receive.c peers/deadlines.c
    peers/chunk.c peers/chunk_in.c peers/base64.c
    peers/jwt.c peers/older.c peers/older_out.c
    transport/ws_frame.c transport/url.c transport/http_rules.c transport/http_easy.c"
targets=$(cd "$work/fuzzers" && ls)

mkdir -p "$work/corpus" "$work/crashes" "$work/log" "$work/profile"
rm -f "$work"/crashes/* "$work"/profile/* "$work"/log/*

# One target: fuzzing, then the replay that tells the coverage. Fuzzing leaves no profile: it
# would count what only crashed.
cat >"$work/one.sh" <<'END'
work=$1 seconds=$2 target=$3
mkdir -p "$work/corpus/$target"
[ "$target" != config ] || cp conf/peer_service.yaml "$work/corpus/config/shipped"
LLVM_PROFILE_FILE=/dev/null "$work/fuzzers/$target" -max_total_time="$seconds" \
    -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=1 \
    -artifact_prefix="$work/crashes/$target-" \
    "$work/corpus/$target" "test/fuzz/corpus/$target" >"$work/log/$target" 2>&1
echo "exit $?" >>"$work/log/$target"
LLVM_PROFILE_FILE="$work/profile/$target.profraw" "$work/fuzzers/$target" -runs=0 \
    -timeout=10 -artifact_prefix="$work/crashes/$target-replay-" \
    "$work/corpus/$target" "test/fuzz/corpus/$target" >"$work/log/$target-replay" 2>&1 ||
    echo "replay failed" >>"$work/log/$target"
END

echo "fuzzing for $seconds s each, $jobs at a time"
echo "$targets" | xargs -P "$jobs" -n 1 sh "$work/one.sh" "$work" "$seconds"

failed=0
stat_of() { sed -n "s/^stat::$2: *//p" "$work/log/$1"; }

printf '\n%-14s %12s %9s %8s %8s\n' target executions execs/s corpus crashes
for target in $targets; do
    crashes=$(find "$work/crashes" -name "$target-*" | wc -l)
    inputs=$(find "$work/corpus/$target" "test/fuzz/corpus/$target" -type f | wc -l)
    printf '%-14s %12s %9s %8s %8s\n' "$target" "$(stat_of "$target" number_of_executed_units)" \
        "$(stat_of "$target" average_exec_per_sec)" "$inputs" "$crashes"
    if [ "$crashes" -gt 0 ] || ! grep -qx 'exit 0' "$work/log/$target" ||
        grep -qx 'replay failed' "$work/log/$target"; then
        failed=1
        echo "FAILED  $target: the end of $work/log/$target is"
        grep -vE '(NEW|REDUCE|RELOAD|pulse) ' "$work/log/$target" | tail -n 40
        find "$work/crashes" -name "$target-*" | sed 's/^/input: /'
    fi
done

objects= # the first one stands without -object
for target in $targets; do
    objects="${objects:+$objects -object }$work/fuzzers/$target"
done
llvm-profdata-14 merge -o "$work/all.profdata" "$work"/profile/*.profraw || exit 1

# "file lines missed", shortened to the paths given above.
# shellcheck disable=SC2086 # the lists are words
llvm-cov-14 export $objects -instr-profile="$work/all.profdata" -format=lcov $parsers \
    2>"$work/log/coverage" |
    awk -F: '/^SF:/ { file = $2 } /^LF:/ { all[file] = $2 } /^LH:/ { hit[file] = $2 }
        END { for (file in all) print file, all[file], hit[file] }' >"$work/coverage"

printf '\n%-28s %6s %9s\n' parser lines coverage
for parser in $parsers; do
    line=$(grep -F "/$parser " "$work/coverage" || true)
    printf '%s %s\n' "$parser" "${line#* }"
done | awk -v min="$coverage_min" '
    NF < 3 || $2 == 0 { printf "FAILED  %s: no coverage\n", $1; bad = 1; next }
    { part = 100 * $3 / $2
      printf "%-28s %6d %8.1f%%%s\n", $1, $2, part, part < min ? "  FAILED: below " min "%" : ""
      bad = bad || part < min }
    END { exit bad }' || failed=1
exit "$failed"
