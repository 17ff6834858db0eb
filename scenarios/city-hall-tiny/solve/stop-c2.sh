#!/bin/sh
for p in $(pgrep -f 'while :; do nc -l -p 443') $(pgrep -f 'nc -l -p 443'); do kill "$p" 2>/dev/null; done
