#!/bin/bash
# Lima mounts the sources with the guest's sshfs, and gives it no options of ours.
# Since CVE-2026-47187 (Debian 3.7.3-1.2) that refuses to read symbolic links that
# are absolute or hold "..", and a backup of a source with one would never be
# complete. Here links are copied and never followed. So Lima finds another sshfs
# in front of it, which asks for them; only for Lima's mounts, which are "slaves".
#
# Runs at every boot, before Lima installs sshfs, and so before it mounts. What
# fails here, Lima tries again, and provision.sh reports.
root=${FUSELESS_ROOT:-}
real=$root/usr/bin/sshfs
front=$root/usr/local/bin/sshfs
if [ ! -x "$real" ]; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q update </dev/null
    apt-get -q install -y --no-install-recommends --no-upgrade sshfs </dev/null
fi
[ -x "$real" ] || exit 0
mkdir -p "${front%/*}"
cat >"$front.new" <<END
#!/bin/sh
# Written by fuseless at every boot.
case " \$* " in
*" -o slave "*)
    if $real -h </dev/null 2>&1 | grep no_contain_symlinks >/dev/null; then
        exec $real "\$@" -o no_contain_symlinks
    fi
    ;;
esac
exec $real "\$@"
END
chmod 755 "$front.new" && mv -f "$front.new" "$front"
