#!/bin/sh
# Does each fuzz target find a bug? Applies test/fuzz/plants/TARGET.patch to a copy of the
# tree, one at a time, builds that target there and runs it from the seeds alone. Prints the
# seconds it took; fails when a bug survives 60 s, a patch no longer applies, or a target has
# none. $1 is the fuzzers' build directory, whose objects the copy starts with.
set -u

cd "$(dirname "$0")/../.." || exit 2
build=$PWD/$1
case $1 in /*) build=$1 ;; esac
copy=$build/plants/tree
seconds_max=60
failed=0

rm -rf "$build/plants"
mkdir -p "$copy/build" "$build/plants/found"
git ls-files --cached --others --exclude-standard | tar -cf - -T - | tar -xf - -C "$copy"
cp -a "$build/obj" "$build/libparley.a" "$build/fuzzers" "$copy/build/"

# Makes $1 in the copy and runs it. Succeeds if it crashes; says how in $build/plants/$1.log.
hunt() {
    log=$build/plants/$1.log
    if ! (cd "$copy" && $FUZZ_MAKE BUILD=build "build/fuzzers/$1") >"$log" 2>&1; then
        cat "$log"
        return 1
    fi
    mkdir -p "$build/plants/corpus/$1"
    start=$(date +%s.%N)
    LLVM_PROFILE_FILE=/dev/null "$copy/build/fuzzers/$1" -max_total_time="$seconds_max" \
        -timeout=10 -rss_limit_mb=2048 -artifact_prefix="$build/plants/found/$1-" \
        "$build/plants/corpus/$1" "test/fuzz/corpus/$1" >"$log" 2>&1
    took=$(echo "$start $(date +%s.%N)" | awk '{ printf "%.1f", $2 - $1 }')
    ls "$build/plants/found/$1-"* >/dev/null 2>&1
}

printf '%-14s %8s  %s\n' target seconds finding
for source in test/fuzz/*.c; do
    target=$(basename "$source" .c)
    patch=$PWD/test/fuzz/plants/$target.patch
    if [ ! -e "$patch" ]; then
        echo "FAILED  $target: no patch in test/fuzz/plants"
        failed=1
    elif ! patch -d "$copy" -p1 -s -F0 <"$patch"; then
        echo "FAILED  $target: the patch does not apply"
        exit 1 # the copy is spoilt
    else
        if hunt "$target"; then
            finding=$(grep -m1 -oE 'broken promise: .*|ERROR: AddressSanitizer: [a-z-]+|Assertion .* failed|runtime error: .*' "$log" |
                cut -c 1-70)
            printf '%-14s %8s  %s\n' "$target" "$took" "${finding:-a crash}"
        else
            echo "FAILED  $target: not found in $seconds_max s: $(head -n 1 "$patch")"
            failed=1
        fi
        patch -d "$copy" -p1 -s -R <"$patch" || exit 1
    fi
done
exit "$failed"
