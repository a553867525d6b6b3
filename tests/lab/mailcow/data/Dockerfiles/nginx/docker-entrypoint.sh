#!/bin/sh
# What mailcow's entrypoint does about certificates.
python3 /bootstrap.py
exec nginx -g 'daemon off;'
