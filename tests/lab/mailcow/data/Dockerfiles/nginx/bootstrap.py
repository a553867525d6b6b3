"""Renders nginx.conf as mailcow's bootstrap.py does: one server for the certificate of the mail host, then one for each
folder with cert.pem, key.pem and domains that does not name the mail host. It is run at the container's start, and again
by whoever has changed a folder. Dovecot has passwords checked on port 9082; what PHP and MySQL do there is done by a map
over the mailboxes' file."""
import os

SSL = "/etc/ssl/mail/"
HOSTNAME = os.getenv("MAILCOW_HOSTNAME", "")
EXTRA_NAMES = os.getenv("ADDITIONAL_SERVER_NAMES", "").replace(",", " ")
PROXIED = " proxy_protocol" if os.getenv("NGINX_USE_PROXY_PROTOCOL", "n").lower() in ("y", "yes") else ""
HEAD = """user www-data;
worker_processes auto;
error_log /dev/stderr warn;
pid /run/nginx.pid;
events { worker_connections 1024; }
http {
    access_log /dev/stdout;
    server_tokens off;
    server_names_hash_max_size 512;
    server_names_hash_bucket_size 128;
    ssl_session_cache shared:SSL:50m;
    ssl_session_timeout 1d;
    ssl_session_tickets off;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_prefer_server_ciphers on;
"""
PASSWORDS = """    server {
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
"""


def mailboxes():
    with open("/etc/nginx/conf.d/mailboxes") as file:
        entries = [line.split() for line in file if line.strip()]
    return "    map $http_x_question $answer {\n        default 401;\n" + "".join(
        f'        "~^(?=.*\\"username\\":\\"{name}\\")(?=.*\\"password\\":\\"{password}\\")" 200;\n'
        for name, password in entries) + "    }\n"


def server(names, folder, options=""):
    return f"""    server {{
        listen {os.getenv("HTTPS_PORT", "443")} ssl{PROXIED}{options};
        server_name {names};
        ssl_certificate {folder}cert.pem;
        ssl_certificate_key {folder}key.pem;
        location / {{ return 200 "mailcow\\n"; }}
    }}
"""


def folders():
    """(domains, folder), in the order in which the file system has them, folders with a dot in front included."""
    for name in os.listdir(SSL):
        folder = os.path.join(SSL, name, "")
        if not all(os.path.isfile(folder + part) for part in ("cert.pem", "key.pem", "domains")):
            continue
        with open(folder + "domains") as file:
            domains = file.read().strip()
        if domains and HOSTNAME not in domains.split():
            yield domains, folder


def main():
    print("Render config")
    with open("/etc/nginx/nginx.conf", "w") as conf:
        conf.write(HEAD + mailboxes() + PASSWORDS)
        conf.write(f"    server {{ listen {os.getenv('HTTP_PORT', '80')}{PROXIED} default_server; "
                   "return 301 https://$host$request_uri; }\n")
        conf.write(server(f"{HOSTNAME} autodiscover.* autoconfig.* mta-sts.* {EXTRA_NAMES}", SSL, " default_server"))
        for domains, folder in folders():
            conf.write(server(domains, folder))
        conf.write("}\n")


main()
