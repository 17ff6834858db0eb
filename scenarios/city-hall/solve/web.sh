#!/bin/sh
set -e
systemctl disable --now man-index.timer
rm -f /etc/systemd/system/man-index.timer /etc/systemd/system/man-index.service /usr/libexec/man-index
systemctl daemon-reload
rm -f /var/www/html/images/.status.cgi
