#!/bin/sh
ip route replace blackhole 203.0.113.66/32
