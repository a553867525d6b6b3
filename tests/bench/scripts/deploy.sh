#!/bin/bash
# The mail host's half of a shell pipeline, written for the benchmark: checks what was staged, installs it, reloads.
# It does not look at what is served then.
set -euo pipefail

STAGED=/home/certsync/incoming
SSL=/opt/mailcow-dockerized/data/assets/ssl
NAME=mail.example.org
PROJECT=mailcowdockerized

fail() {
    echo "ERROR: $*" >&2
    exit 1
}

cert=$(openssl x509 -in "$STAGED/fullchain.pem" -noout -pubkey | openssl md5)
key=$(openssl pkey -in "$STAGED/privkey.pem" -pubout | openssl md5)
[[ $cert == "$key" ]] || fail "certificate and key do not match"
[[ $(openssl x509 -in "$STAGED/fullchain.pem" -noout -checkhost "$NAME") == *"does match certificate"* ]] ||
    fail "the certificate does not cover $NAME"

if [[ $(sha256sum <"$STAGED/fullchain.pem") == "$(sha256sum <"$SSL/cert.pem")" ]]; then
    echo "unchanged: nothing to do"
    exit 0
fi

install -m 0644 "$STAGED/fullchain.pem" "$SSL/cert.pem"
install -m 0600 "$STAGED/privkey.pem" "$SSL/key.pem"
docker exec "$PROJECT-postfix-mailcow-1" postfix reload
docker exec "$PROJECT-dovecot-mailcow-1" dovecot reload
docker exec "$PROJECT-nginx-mailcow-1" nginx -s reload
echo "deployed"
