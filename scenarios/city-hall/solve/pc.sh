#!/bin/sh
set -e
systemctl disable --now font-cache-refresh.service
rm -f /etc/systemd/system/font-cache-refresh.service /usr/local/libexec/font-cache-refresh
systemctl daemon-reload
