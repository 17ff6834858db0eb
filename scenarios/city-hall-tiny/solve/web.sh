#!/bin/sh
for p in $(pidof replant) $(pgrep -f libexec/replant); do kill "$p" 2>/dev/null; done
rm -f /usr/libexec/replant /srv/www/.status.cgi
