#!/bin/sh
killall beacon
rm -f /usr/libexec/beacon
