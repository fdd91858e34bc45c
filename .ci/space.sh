#!/bin/sh
# Stop before anything is written if less than so many megabytes are free here.
#
# Called as: space.sh MEGABYTES, from the repository root, by the Makefile. A build that
# runs out of space ends in the middle of whatever page is being written.
free=$(df -Pk . 2>/dev/null | awk 'NR == 2 { print int($4 / 1024) }')
if [ -n "$free" ] && [ "$free" -lt "$1" ]; then
    echo "space: the disk has $free MB free and the book needs $1 MB: free some space and call make again." >&2
    exit 1
fi
