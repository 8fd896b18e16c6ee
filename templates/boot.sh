#!/bin/sh
# Lima trims these lines and gives them to cloud-init as a bootcmd: no here-documents.
#
# Written before sshd starts, since a connection keeps the settings of its
# beginning, and Lima's control connection lasts as long as the VM. The host's
# bridge socket is forwarded on it again and again, over the one left before.
mkdir -p /etc/ssh/sshd_config.d
printf '%s\n' 'StreamLocalBindUnlink yes' 'AllowAgentForwarding no' 'X11Forwarding no' >/etc/ssh/sshd_config.d/10-fuseless.conf
