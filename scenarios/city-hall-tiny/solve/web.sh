#!/bin/sh
killall replant
rm -f /usr/libexec/replant /srv/www/.status.cgi
