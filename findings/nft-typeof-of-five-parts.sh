#!/bin/bash
# What nft lists of a set whose key has five parts, one of them `numgen`, it does not load again.
#
# Seen with Debian's nftables 1.0.6-2+deb12u2 (1.1.3 does the same). A set that is declared with `typeof`
# keeps how it was declared in the kernel, as notes of at most 255 bytes. Those of such a key are longer:
# nft leaves them out without a word, and from then on lists the set with `type`, where the part is an
# `integer`. It refuses that itself:
#
#     Error: can not use variable sized data types (integer) in concat expressions
#
# With four parts the notes fit, and the listing loads. Run as root; fails if any of this has changed.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

(cd "$folder" && apt-get -q download nftables=1.0.6-2+deb12u2 libnftables1=1.0.6-2+deb12u2 \
    libnftnl11=1.2.4-2 2>/dev/null >&2)
for package in "$folder"/*.deb; do dpkg-deb -x "$package" "$folder/nft"; done
nft() { LD_LIBRARY_PATH=$folder/nft/usr/lib/$(uname -m)-linux-gnu "$folder/nft/usr/sbin/nft" "$@"; }
export -f nft
export folder

"$top/tests/tools/in-netns" bash -euo pipefail -c '
    nft --version | grep -q "v1.0.6 "
    for first in "" "ip saddr . "; do
        nft flush ruleset
        key="${first}ip daddr . meta l4proto . th dport . numgen random mod 65536"
        printf "table ip t {\nset s {\ntypeof %s\n}\n}\n" "$key" > "$folder/input"
        nft -f "$folder/input"
        nft list ruleset > "$folder/listed"
        grep type "$folder/listed"
        nft flush ruleset
        if nft -f "$folder/listed" 2> "$folder/error"; then echo loads; else head -1 "$folder/error"; fi
    done > "$folder/output"
    cat "$folder/output"
    diff "$folder/output" - <<END
		typeof ip daddr . meta l4proto . th dport . numgen random mod 65536
loads
		type ipv4_addr . ipv4_addr . inet_proto . inet_service . integer
$folder/listed:3:58-66: Error: can not use variable sized data types (integer) in concat expressions
END
'
echo 'as described'
