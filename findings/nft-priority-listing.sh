#!/bin/bash
# nft 1.1.3 lists what nft 1.0.6 refuses to load: the priority -110 of an output hook.
#
# Seen with Debian's nftables 1.0.6-2+deb12u2 and 1.1.3: the newer one names the nearest well-known
# priority, `dstnat - 10`, also for the hook output. The older one takes names relative to dstnat for the
# hook prerouting only, and refuses the whole file:
#
#     Error: invalid priority expression value in this context.
#
# So a node that saves its ruleset with one and loads it with the other at boot has no firewall at all.
# nft 1.0.6 itself lists the number. Run as root; fails if any of this has changed.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

(cd "$folder" && apt-get -q download nftables=1.0.6-2+deb12u2 libnftables1=1.0.6-2+deb12u2 \
    libnftnl11=1.2.4-2 2>/dev/null >&2)
for package in "$folder"/*.deb; do dpkg-deb -x "$package" "$folder/old"; done
old() { LD_LIBRARY_PATH=$folder/old/usr/lib/$(uname -m)-linux-gnu "$folder/old/usr/sbin/nft" "$@"; }
export -f old
export folder
new=$(CARGO_TARGET_DIR=$folder/new "$top/tests/tools/nft-1.1")
export new

"$top/tests/tools/in-netns" bash -euo pipefail -c '
    old --version | grep -q "v1.0.6 " && "$new" --version | grep -q "v1.1.3 "
    printf "table ip t {\nchain c {\ntype filter hook output priority -110;\n}\n}\n" > "$folder/input"
    old -f "$folder/input"
    old list ruleset > "$folder/by-old"
    "$new" list ruleset > "$folder/by-new"
    grep "priority -110;" "$folder/by-old"
    grep "priority dstnat - 10;" "$folder/by-new"
    old flush ruleset
    old -f "$folder/by-old" && old flush ruleset
    "$new" -f "$folder/by-new" && old flush ruleset
    if old -f "$folder/by-new" 2> "$folder/error"; then echo "it is loaded now"; exit 1; fi
    grep "invalid priority expression" "$folder/error"
'
echo 'as described'
