#!/bin/bash
# The kernel's table, and no look into the mounts themselves: a dead one would
# hang. An unmounted source would be an empty folder to a backup.
# Set above: mounts, as ro:PATH or rw:PATH; their paths hold only [/a-z0-9-].
bad=0
for mount in $mounts; do
    path=${mount#*:}
    access=$(awk -v path="$path" '$5 == path { split($6, o, ","); a = o[1] } END { print a }' "${FUSELESS_MOUNTINFO:-/proc/self/mountinfo}")
    if [ -z "$access" ]; then
        echo >&2 "$path is not mounted"
        bad=1
    elif [ "$access" != "${mount%%:*}" ]; then
        echo >&2 "$path is mounted $access, not ${mount%%:*}"
        bad=1
    fi
done
exit $bad
