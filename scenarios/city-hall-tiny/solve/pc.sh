#!/bin/sh
for p in $(pgrep -f libexec/beacon); do kill "$p" 2>/dev/null; done
rm -f /usr/libexec/beacon
