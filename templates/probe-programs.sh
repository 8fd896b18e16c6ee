#!/bin/bash
# Says everything that is missing, not only the first thing. Lima gives us this
# script on standard input, so nothing else may read it.
bad=0
missing() {
    echo >&2 "$*"
    bad=1
}
works() { "$@" </dev/null >/dev/null 2>&1; }

version=$(gocryptfs -version </dev/null 2>/dev/null | sed -n 's/^gocryptfs v\{0,1\}\([0-9][0-9.]*\).*/\1/p')
if [ -z "$version" ]; then
    missing "gocryptfs is missing"
elif [ "$(printf '%s\n' 2.3 "$version" | sort -V | head -n 1)" != 2.3 ]; then
    missing "gocryptfs $version is too old: 2.3 is needed"
fi
works sshfs -V || missing "sshfs is missing"
works rsync --version || missing "rsync is missing"
works fusermount3 -V || missing "fusermount3 is missing"
works "${FUSELESS_ROOT:-}/usr/local/bin/fuseless-guest" version || missing "fuseless-guest is missing, or does not run"
exit $bad
