#!/bin/sh
# Renders nginx.conf once, at the container's start, as mailcow's bootstrap.py does: one server for the certificate of
# the mail host and one for each folder with cert.pem, key.pem and domains that does not name the mail host.

server() {
  cat <<END
    server {
        listen ${HTTPS_PORT:-443} ssl$3;
        server_name $1;
        ssl_certificate $2/cert.pem;
        ssl_certificate_key $2/key.pem;
        location / { return 200 "mailcow\n"; }
    }
END
}

{
  cat <<'END'
user www-data;
worker_processes auto;
error_log /dev/stderr warn;
pid /run/nginx.pid;
events { worker_connections 1024; }
http {
    access_log /dev/stdout;
    server_tokens off;
    ssl_session_cache shared:SSL:50m;
    ssl_session_timeout 1d;
    ssl_session_tickets off;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_prefer_server_ciphers on;
END
  echo "    server { listen ${HTTP_PORT:-80} default_server; return 301 https://\$host\$request_uri; }"
  server "${MAILCOW_HOSTNAME} autodiscover.* autoconfig.* mta-sts.*" /etc/ssl/mail ' default_server'
  for folder in $(find /etc/ssl/mail -mindepth 1 -maxdepth 1 -type d); do
    [ -e "$folder/cert.pem" ] && [ -e "$folder/key.pem" ] && [ -e "$folder/domains" ] || continue
    grep -qFw -- "${MAILCOW_HOSTNAME}" "$folder/domains" || server "$(cat "$folder/domains")" "$folder" ''
  done
  echo "}"
} > /etc/nginx/nginx.conf

exec nginx -g 'daemon off;'
