"""The lab: a proxy host and a mail host in namespaces of their own, for the demo, the system tests and the benchmark."""
