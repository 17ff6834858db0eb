#!/bin/sh
set -e
mkdir -p /srv/report /usr/libexec
cat > /usr/libexec/replant <<'SH'
#!/bin/sh
while :; do
  [ -e /srv/www/.status.cgi ] || printf '#!/bin/sh\n' > /srv/www/.status.cgi
  sleep 2
done
SH
chmod 0755 /usr/libexec/replant
