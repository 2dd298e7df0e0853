#!/bin/sh
# Checks what a compiler does not: format, clang-tidy, cppcheck, the layering of includes,
# and what else the project promises about its own sources. Prints one line per check.
set -u

cd "$(dirname "$0")/.." || exit 2
failures=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

# Names a check by its result: it failed when $work/out holds anything.
report() {
    if [ -s "$work/out" ]; then
        echo "FAILED  $1"
        cat "$work/out"
        failures=$((failures + 1))
    else
        echo "ok      $1"
    fi
}

sources() { git ls-files -- "$@"; }

# Quoted includes of $1 as "file:line:header".
includes() {
    sources "$@" | xargs -r grep -nH '^ *# *include *"' |
        sed 's/^\([^:]*:[0-9]*\):[^"]*"\([^"]*\)".*/\1:\2/'
}

sources '*.c' '*.h' | xargs -r clang-format --dry-run -Werror >"$work/out" 2>&1
report "format (make format mends it)"

{
    includes 'runtime/*.[ch]' | grep -E ':(transport|peers|bench|test)/'
    includes 'transport/*.[ch]' | grep -E ':(peers|bench|test)/'
    includes 'peers/*.[ch]' | grep -v '^peers/cli/' | grep -E ':(peers/cli|bench|test)/'
    includes 'peers/cli/*.[ch]' | grep -vE ':(parley\.h|peers/cli/[a-z_]+\.h)$'
    includes 'include/*.h'
} >"$work/out"
report "layers: includes point downwards, commands use parley.h only"

includes '*.c' '*.h' | grep -vE ':(parley\.h|[a-z_]+/[a-z0-9_/]+\.[ch])$' >"$work/out"
report "includes name their folder"

sources | cut -d/ -f1 | sort -u | grep -vxE '\..*|LICENSE|Makefile|README\.md|bench|conf|include|peers|runtime|test|transport' >"$work/out"
report "top level holds what it should"

awk '/^PARLEY_API/ && before !~ /\*\/$/ { print FILENAME ":" FNR ": no contract above: " $0 }
     { before = $0 }' include/parley.h >"$work/out"
report "every public function has its contract above it"

sources '*.c' '*.h' '*.sh' '*.py' Makefile | grep -vx 'test/lint.sh' |
    xargs -r grep -nwE 'TODO|FIXME|XXX' >"$work/out"
sources '*.c' '*.h' | while read -r file; do
    lines=700
    [ "$file" != include/parley.h ] || lines=900 # one header, which is the manual, too
    [ "$(wc -l <"$file")" -le "$lines" ] || echo "$file: more than $lines lines"
    head -n 1 "$file" | grep -q 'SPDX-License-Identifier: Apache-2.0' ||
        echo "$file: no licence line at its head"
done >>"$work/out"
report "no unfinished marks, no file above 700 lines (parley.h: 900), licence lines"

sources 'runtime/*.[ch]' 'transport/*.[ch]' 'peers/*.[ch]' | grep -v '^peers/cli/' |
    xargs -r grep -nE '\<(printf|puts|putchar|perror|exit|abort|signal|sigaction) ?\(' |
    grep -vE '^[^:]*:[0-9]+: *(/?\*|//)|transport/process\.c' >"$work/out"
report "the library neither prints, exits nor handles signals"

sources '*.c' | xargs -r cppcheck --quiet -j 2 --std=c11 --language=c \
    --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
    --suppress=missingIncludeSystem --suppress=missingInclude --suppress=unknownMacro --suppress='autoVariables:test/*' \
    -D_GNU_SOURCE -D__GNUC__=12 -D__x86_64__ -I. -Iinclude >"$work/out" 2>&1
report "cppcheck"

# Its own file per run, because two run at once; clang-tidy also counts aloud what it
# suppresses, which is of no interest. The analyser takes most of the time; tests do without
# it, since they run under the sanitizers.
tidy='out=$(mktemp "$1/tidy.XXXXXX")
    case $2 in test/*) checks=-clang-analyzer-* ;; *) checks= ;; esac
    clang-tidy --quiet ${checks:+"--checks=$checks"} "$2" -- -std=c17 -D_GNU_SOURCE -I. -Iinclude >"$out" 2>&1 ||
        echo "clang-tidy: $2" >>"$out"
    sed -i -E "/^[0-9]+ warnings? (generated|treated)/d" "$out"'
sources '*.c' | xargs -r -P 2 -n 1 sh -c "$tidy" sh "$work"
cat "$work"/tidy.* >"$work/out" 2>/dev/null
report "clang-tidy"

[ "$failures" -eq 0 ]
