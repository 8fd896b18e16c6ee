#!/bin/bash
# Lima tries again every 10 s, up to 60 times, so this need not wait for all of it.
run=${FUSELESS_ROOT:-}/run/fuseless
for ((i = 0; i < ${FUSELESS_SECONDS:-30}; i++)); do
    if [ -e "$run/provision.failed" ]; then
        echo >&2 "provisioning failed: $(cat "$run/provision.failed")"
        exit 1
    fi
    [ -e "$run/provision.done" ] && exit 0
    sleep 1
done
echo >&2 "provisioning is not finished yet"
exit 1
