#!/bin/sh
mkdir -p /srv/report
echo 203.0.113.66 > /srv/report/ioc.txt
