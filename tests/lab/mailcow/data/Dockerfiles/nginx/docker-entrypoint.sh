#!/bin/sh
# Renders nginx.conf once, at the container's start, as mailcow's bootstrap.py does: one server for the certificate of
# the mail host and one for each folder with cert.pem, key.pem and domains that does not name the mail host. Dovecot
# has passwords checked on port 9082; what PHP and MySQL do there is done by a map over the mailboxes' file.

case $NGINX_USE_PROXY_PROTOCOL in
  [Yy]|[Yy][Ee][Ss]) proxied=' proxy_protocol' ;;
  *) proxied='' ;;
esac

server() {
  cat <<END
    server {
        listen ${HTTPS_PORT:-443} ssl$proxied$3;
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
  echo '    map $http_x_question $answer {'
  echo '        default 401;'
  while read -r name password; do
    printf '        "~^(?=.*\"username\":\"%s\")(?=.*\"password\":\"%s\")" 200;\n' "$name" "$password"
  done < /etc/nginx/conf.d/mailboxes
  cat <<'END'
    }
    server {
        listen 9082 ssl;
        ssl_certificate /etc/ssl/mail/cert.pem;
        ssl_certificate_key /etc/ssl/mail/key.pem;
        location / {
            proxy_pass http://127.0.0.1:9083;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header X-Question $request_body;
        }
    }
    server {
        listen 127.0.0.1:9083;
        location / {
            if ($answer = 200) { return 200 '{"success":true}'; }
            return 401 '{"success":false}';
        }
    }
END
  echo "    server { listen ${HTTP_PORT:-80}$proxied default_server; return 301 https://\$host\$request_uri; }"
  server "${MAILCOW_HOSTNAME} autodiscover.* autoconfig.* mta-sts.*" /etc/ssl/mail ' default_server'
  for folder in $(find /etc/ssl/mail -mindepth 1 -maxdepth 1 -type d); do
    [ -e "$folder/cert.pem" ] && [ -e "$folder/key.pem" ] && [ -e "$folder/domains" ] || continue
    grep -qFw -- "${MAILCOW_HOSTNAME}" "$folder/domains" || server "$(cat "$folder/domains")" "$folder" ''
  done
  echo "}"
} > /etc/nginx/nginx.conf

exec nginx -g 'daemon off;'
