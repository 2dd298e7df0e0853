#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Does the simulation find bugs? Applies each test/sim/mutants/*.patch to a copy of the tree,
# one at a time, builds the simulator there and runs seeds until a promise breaks. Prints how
# many seeds that took; fails when a mutant survives MUTANT_SEEDS of them or a patch no longer
# applies. The copy starts with the objects of $BUILD. MUTANTS names some of them only.
set -u

cd "$(dirname "$0")/../.." || exit 2
build=$(cd "${BUILD:-build}" && pwd) || exit 2
copy=$build/sim-mutants/tree
log=$build/sim-mutants/log
seeds=${MUTANT_SEEDS:-20000}
caught=0
failed=0

rm -rf "$build/sim-mutants"
mkdir -p "$copy/build"
git ls-files --cached --others --exclude-standard | tar -cf - -T - | tar -xf - -C "$copy"
[ ! -d "$build/obj" ] || cp -a "$build/obj" "$copy/build/"

for patch in test/sim/mutants/*.patch; do
    name=$(basename "$patch" .patch)
    case " ${MUTANTS:-$name} " in *" $name "*) ;; *) continue ;; esac
    if ! patch -d "$copy" -p1 -s -F2 <"$patch"; then
        echo "FAILED  $name: the patch does not apply"
        exit 1 # the copy is spoilt
    fi
    if ! make -C "$copy" --no-print-directory BUILD=build build/sim >"$log" 2>&1; then
        echo "FAILED  $name: does not build"
        tail -n 20 "$log"
        failed=$((failed + 1))
    elif "$copy/build/sim" --seeds "$seeds" --until-broken >"$log" 2>/dev/null; then
        printf 'caught  %-28s %s\n' "$name" "$(tail -n 1 "$log")"
        caught=$((caught + 1))
    else
        printf 'FAILED  %-28s %s: %s\n' "$name" "$(tail -n 1 "$log")" "$(head -n 1 "$patch")"
        failed=$((failed + 1))
    fi
    patch -d "$copy" -p1 -s -R -F2 <"$patch" || exit 1
done
rm -rf "$build/sim-mutants/tree"
echo "$caught mutants caught, $failed survived"
[ "$failed" -eq 0 ]
