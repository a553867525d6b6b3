#!/bin/bash
# What mailcow's start script does about certificates; the rest of it needs the database.

# The lab has no name server: lookups of clients' names that nobody answers would hold up every session.
sed -i 's/^hosts:.*/hosts: files/' /etc/nsswitch.conf

echo -n > /opt/postfix/conf/sni.map
if [[ ! "${SKIP_LETS_ENCRYPT}" =~ ^([yY][eE][sS]|[yY])+$ ]]; then
  for cert_dir in /etc/ssl/mail/*/ ; do
    if [[ ! -f ${cert_dir}domains ]] || [[ ! -f ${cert_dir}cert.pem ]] || [[ ! -f ${cert_dir}key.pem ]]; then
      continue
    fi
    IFS=" " read -r -a domains <<< "$(cat "${cert_dir}domains")"
    for domain in "${domains[@]}"; do
      echo -n "${domain} ${cert_dir}key.pem ${cert_dir}cert.pem" >> /opt/postfix/conf/sni.map
      echo "" >> /opt/postfix/conf/sni.map
    done
  done
fi
postmap -F hash:/opt/postfix/conf/sni.map

chown -R root:root /opt/postfix/conf
chgrp -R postdrop /var/spool/postfix/public /var/spool/postfix/maildrop
postfix set-permissions >/dev/null 2>&1

exec postfix -c /opt/postfix/conf start-fg
