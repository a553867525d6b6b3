#!/bin/bash
# What mailcow's entrypoint does about certificates; the rest of it needs the database.

cat /dev/null > /etc/dovecot/sni.conf
for cert_dir in /etc/ssl/mail/*/ ; do
  if [[ ! -f ${cert_dir}domains ]] || [[ ! -f ${cert_dir}cert.pem ]] || [[ ! -f ${cert_dir}key.pem ]]; then
    continue
  fi
  domains=($(cat "${cert_dir}domains"))
  for domain in "${domains[@]}"; do
    echo "local_name ${domain} {" >> /etc/dovecot/sni.conf
    echo "  ssl_cert = <${cert_dir}cert.pem" >> /etc/dovecot/sni.conf
    echo "  ssl_key = <${cert_dir}key.pem" >> /etc/dovecot/sni.conf
    echo "}" >> /etc/dovecot/sni.conf
  done
done

rm -f /run/dovecot/master.pid
exec /usr/sbin/dovecot -F
