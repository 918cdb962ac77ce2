#!/bin/bash
# A `dnat` to the address and port that a packet already has does not make it `ct status dnat`.
#
# Seen with Linux 6.18 and Debian's nftables 1.0.6-2+deb12u2. The rule is evaluated, but nothing is
# translated, and the kernel sets the status bit only where something is. So `ct status dnat`, by which
# firewalls tell what was forwarded on purpose, does not match, while it does for any other target. A proxy
# meets this where a virtual address is that of an endpoint itself.
#
# Counted at the input hook: a connection to port 1001 that is sent to port 1002, and one to port 1002 that
# is sent there. Run as root; fails if any of this has changed.
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
    nft -f - <<END
table ip t {
    counter asked {}
    counter translated {}
    chain output {
        type nat hook output priority -100;
        ip daddr 127.0.0.1 tcp dport { 1001, 1002 } counter name asked dnat to 127.0.0.1:1002
    }
    chain input {
        type filter hook input priority filter;
        tcp flags & (syn | ack) == syn ct status dnat counter name translated
    }
}
END
    packets() { nft list counter ip t "$1" | grep -o "packets [0-9]*"; }
    for port in 1001 1002; do
        (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null || true
        echo "$port: asked, $(packets asked); translated, $(packets translated)"
    done > "$folder/output"
    cat "$folder/output"
    diff "$folder/output" - <<END
1001: asked, packets 1; translated, packets 1
1002: asked, packets 2; translated, packets 1
END
'
echo 'as described'
