#!/bin/sh
set -e
cat > /etc/lighttpd/conf-enabled/90-city.conf <<'CONF'
server.modules += ( "mod_cgi", "mod_accesslog" )
accesslog.filename = "/var/log/lighttpd/access.log"
cgi.assign = ( ".cgi" => "" )
CONF
mkdir -p /srv/report
chown -R www-data: /var/www/html /var/log/lighttpd
systemctl enable lighttpd man-index.timer
printf 'net.ipv4.ip_forward=1\n' > /etc/sysctl.d/50-gateway.conf
