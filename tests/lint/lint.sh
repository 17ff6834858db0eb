#!/bin/sh
# All of it. Usage: lint.sh [FOLDER]
here=$(cd "$(dirname "$0")" && pwd)
top=${1:-.}
status=0
for check in deps words form asserts; do
    sh "$here/$check.sh" "$top" || status=1
done
exit $status
