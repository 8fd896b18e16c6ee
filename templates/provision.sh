#!/bin/bash
# Makes the guest what fuseless needs. Runs as root at every boot, does only what
# is not yet done, and says why it failed in /run/fuseless/provision.failed.
# Set above: packages, user. FUSELESS_ROOT and FUSELESS_PAUSE are for tests.
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
root=${FUSELESS_ROOT:-}
run=$root/run/fuseless
step=begin

say() { echo "fuseless: $*"; }
fail() {
    echo "$*" >"$run/provision.failed"
    say "provisioning failed: $*"
    exit 1
}
ended() {
    status=$?
    if [ "$status" != 0 ] && [ ! -e "$run/provision.failed" ]; then
        echo "$step: ended with status $status" >"$run/provision.failed"
    fi
}

apt() {
    apt-get -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -o APT::Update::Error-Mode=any "$@" \
        </dev/null 2>&1 | tee -a "$run/apt.log"
}

# Lima itself may have updated the lists a moment ago.
fresh_lists() {
    [ -n "$(find "$root/var/lib/apt/lists" -maxdepth 1 -name '*_Packages*' -mmin -60 2>/dev/null)" ]
}

install_packages() {
    local missing=() package attempt
    for package in $packages; do
        # shellcheck disable=SC2016
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    if [ ${#missing[@]} = 0 ]; then
        say "packages are installed: $packages"
        return
    fi
    say "installing ${missing[*]}"
    for attempt in 1 2 3; do
        : >"$run/apt.log"
        if { { [ "$attempt" = 1 ] && fresh_lists; } || apt update; } &&
            apt install -y --no-install-recommends --no-upgrade "${missing[@]}"; then
            say "installed ${missing[*]}"
            return
        fi
        say "attempt $attempt of 3 to install packages failed"
        [ "$attempt" = 3 ] || sleep "${FUSELESS_PAUSE:-10}"
    done
    fail "cannot install ${missing[*]}: $(grep '^E: ' "$run/apt.log" | tail -n 1 || true)"
}

# What boot.sh wrote must be what sshd reads.
check_sshd() {
    mkdir -p "$root/run/sshd" # where sshd is started by a socket, it may not be there yet
    sshd -T 2>/dev/null | grep -ix 'streamlocalbindunlink yes' >/dev/null ||
        fail "sshd does not read /etc/ssh/sshd_config.d: the host's socket cannot be forwarded"
}

# /run/user/UID and what runs in the user's name must outlast an ssh session.
keep_user() {
    [ -e "$root/var/lib/systemd/linger/$user" ] || loginctl enable-linger "$user" ||
        say "no lingering for $user; /dev/shm serves instead of /run/user"
}

unpack() { base64 -d <"$run/guest.xz.base64" | xz -dc; }

install_guest() {
    local target=$root/usr/local/bin/fuseless-guest new
    if [ ! -e "$run/guest.xz.base64" ]; then
        [ -x "$target" ] || fail "the guest binary was not delivered"
        return
    fi
    if unpack 2>/dev/null | cmp -s - "$target" && [ -x "$target" ]; then
        say "fuseless-guest is up to date"
    else
        mkdir -p "${target%/*}"
        rm -f "$target".new.*
        new=$(mktemp "$target.new.XXXXXX") || fail "cannot write to ${target%/*}"
        unpack >"$new" || { rm -f "$new"; fail "cannot unpack the guest binary into ${target%/*}; is the disk full?"; }
        chmod 755 "$new"
        "$new" version </dev/null >/dev/null || { rm -f "$new"; fail "the guest binary does not run on $(uname -m)"; }
        sync "$new"
        mv -f "$new" "$target" # by rename: the old one may be running
        say "installed $("$target" version </dev/null)"
    fi
    rm "$run/guest.xz.base64" # /run is memory
}

mkdir -p "$run"
rm -f "$run/provision.done" "$run/provision.failed"
trap ended EXIT
for step in install_packages check_sshd keep_user install_guest; do
    $step
done
: >"$run/provision.done"
say "the guest is ready"
