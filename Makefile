# mailcow-certsync: one Makefile, not recursive. `make help` lists what it does.

VERSION := 0.1.0
O       ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
PYTHON  ?= /usr/bin/python3
# SANITIZE=1 builds with AddressSanitizer and UndefinedBehaviorSanitizer (use another O= with it); SANITIZE=fuzzer, with
# clang, also with libFuzzer's instrumentation.
SANITIZE ?=

BINDIR     = $(PREFIX)/bin
SBINDIR    = $(PREFIX)/sbin
LIBEXECDIR = $(PREFIX)/libexec
MANDIR     = $(PREFIX)/share/man
DATADIR    = $(PREFIX)/share/mailcow-certsync
DOCDIR     = $(PREFIX)/share/doc/mailcow-certsync
UNITDIR    = $(PREFIX)/lib/systemd/system
COMPLETION = $(PREFIX)/share/bash-completion/completions
SYSUSERS   = $(PREFIX)/lib/sysusers.d
CATALOG    = $(PREFIX)/lib/systemd/catalog

CFLAGS   ?= -O2 -g
,        := ,
WARN     := -Wall -Wextra -Wshadow -Wpointer-arith -Wcast-qual -Wstrict-prototypes -Wmissing-prototypes \
            -Wwrite-strings -Wundef -Wformat=2 -Wvla -Wimplicit-fallthrough -Wunused -Wconversion -Wno-sign-conversion
HARDEN   := -fstack-protector-strong -fPIE -D_FORTIFY_SOURCE=2
SANFLAGS := $(if $(SANITIZE),-fsanitize=address$(,)undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -U_FORTIFY_SOURCE) \
            $(if $(filter fuzzer,$(SANITIZE)),-fsanitize=fuzzer-no-link)
CPPALL   := -std=gnu11 -D_GNU_SOURCE -DVERSION='"$(VERSION)"' -I. $(CPPFLAGS)
CALL      = $(CPPALL) $(WARN) $(HARDEN) $(SANFLAGS) $(CFLAGS) -MMD -MP
LDALL     = $(SANFLAGS) -pie -Wl,-z,relro,-z,now,--as-needed $(LDFLAGS)

MAINS    := pusher/main.c pusher/worker.c pusher/watcher.c deployer/main.c deployer/receive.c
COMMON   := $(filter-out $(MAINS),$(wildcard common/*.c))
PUSHER   := $(filter-out $(MAINS),$(wildcard pusher/*.c))
DEPLOYER := $(filter-out $(MAINS),$(wildcard deployer/*.c))
HEADERS  := $(wildcard common/*.h pusher/*.h deployer/*.h)
UNIT     := $(wildcard tests/unit/test_*.c)
obj       = $(patsubst %.c,$(O)/%.o,$(1))

LIBS_COMMON   := -lcrypto -linih -ljansson -lseccomp -lsystemd
LIBS_PUSHER   := -lssh2
LIBS_DEPLOYER := -lssl -lcurl

PUSH    := $(O)/mailcow-cert-push
WORKER  := $(O)/mailcow-cert-push-worker
WATCH   := $(O)/mailcow-cert-push-watch
DEPLOY  := $(O)/mailcow-cert-deploy
RECEIVE := $(O)/mailcow-cert-receive

.PHONY: all
all: $(PUSH) $(WORKER) $(WATCH) $(DEPLOY) $(RECEIVE) ## build the programs (the default)

# A pass that has nothing to do loads no more than it needs.
$(PUSH): $(call obj,$(addprefix pusher/,main.c arguments.c lineage.c past.c push_alarms.c push_conf.c push_metrics.c push_status.c state.c unchanged.c)) $(O)/common.a
	$(CC) $(LDALL) -o $@ $^ -linih -ljansson

$(WORKER): $(O)/pusher/worker.o $(call obj,$(PUSHER)) $(O)/common.a
	$(CC) $(LDALL) -o $@ $^ $(LIBS_PUSHER) $(LIBS_COMMON)

# What stays resident holds neither cryptography nor SSH.
$(WATCH): $(call obj,$(addprefix pusher/,watcher.c arguments.c push_conf.c resident.c watch.c)) $(O)/common.a
	$(CC) $(LDALL) -o $@ $^ -linih -ljansson -lsystemd

$(DEPLOY): $(O)/deployer/main.o $(call obj,$(DEPLOYER)) $(O)/common.a
	$(CC) $(LDALL) -o $@ $^ $(LIBS_DEPLOYER) $(LIBS_COMMON)

# The relay links nothing of the others: no cryptography, no parser.
$(RECEIVE): $(O)/deployer/receive.o
	$(CC) $(LDALL) -o $@ $^

$(O)/common.a: $(call obj,$(COMMON))
	rm -f $@ && $(AR) rcs $@ $^

$(O)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CALL) -c -o $@ $<

$(O)/tests/unit/test_%: $(O)/tests/unit/test_%.o $(call obj,$(PUSHER) $(DEPLOYER)) $(O)/common.a
	$(CC) $(LDALL) -o $@ $^ -lcmocka $(LIBS_PUSHER) $(LIBS_DEPLOYER) $(LIBS_COMMON)

.SECONDARY:
-include $(wildcard $(O)/*/*.d $(O)/tests/*/*.d)

# Texts name the folders that they are installed beside.
SUBST := sed -e 's|@bindir@|$(BINDIR)|g' -e 's|@sbindir@|$(SBINDIR)|g' -e 's|@libexecdir@|$(LIBEXECDIR)|g'
define install_text
	install -d $(DESTDIR)$(2)
	for f in $(1); do $(SUBST) $$f > $(DESTDIR)$(2)/$${f##*/} && chmod 644 $(DESTDIR)$(2)/$${f##*/} || exit 1; done
endef

# Fuzz targets: fuzz_x under libFuzzer, replay_x on a folder of inputs. I/O with a peer is replaced (tests/fuzz/stream.c),
# and what a target defines itself is not taken from the archive.
$(O)/product.a: $(call obj,$(PUSHER) $(DEPLOYER))
	rm -f $@ && $(AR) rcs $@ $^

# Coverage is that of the product; one target includes a part of it.
$(O)/tests/fuzz/%.o: SANFLAGS := $(filter-out -fsanitize=fuzzer-no-link,$(SANFLAGS))
$(O)/tests/fuzz/fuzz_judge_answer.o: SANFLAGS := $(SANFLAGS)

FUZZ_OBJ  = $(call obj,$(addprefix tests/fuzz/,fuzz.c openssl.c pem.c problems.c stream.c)) $(O)/product.a $(O)/common.a
FUZZ_LINK = $(CC) $(LDALL) -Wl,--wrap=ERR_clear_error,--wrap=recv,--wrap=send,--wrap=poll,--wrap=fcntl
FUZZ_LIBS = $(LIBS_PUSHER) $(LIBS_DEPLOYER) $(LIBS_COMMON)

$(O)/tests/fuzz/fuzz_%: $(O)/tests/fuzz/fuzz_%.o $(FUZZ_OBJ)
	$(FUZZ_LINK) -fsanitize=fuzzer -o $@ $^ $(FUZZ_LIBS)

$(O)/tests/fuzz/replay_%: $(O)/tests/fuzz/replay.o $(O)/tests/fuzz/fuzz_%.o $(FUZZ_OBJ)
	$(FUZZ_LINK) -o $@ $^ $(FUZZ_LIBS)

.PHONY: install
install: all ## install into DESTDIR below PREFIX (/usr/local)
	install -D -m 755 $(PUSH) $(DESTDIR)$(BINDIR)/mailcow-cert-push
	install -D -m 755 $(WORKER) $(DESTDIR)$(LIBEXECDIR)/mailcow-cert-push-worker
	install -D -m 755 $(WATCH) $(DESTDIR)$(LIBEXECDIR)/mailcow-cert-push-watch
	install -D -m 755 $(DEPLOY) $(DESTDIR)$(SBINDIR)/mailcow-cert-deploy
	install -D -m 755 $(RECEIVE) $(DESTDIR)$(LIBEXECDIR)/mailcow-cert-receive
	$(call install_text,$(wildcard docs/man/*.8),$(MANDIR)/man8)
	$(call install_text,$(wildcard docs/man/*.5),$(MANDIR)/man5)
	$(call install_text,$(wildcard systemd/*.service systemd/*.timer systemd/*.socket),$(UNITDIR))
	$(call install_text,$(wildcard systemd/sysusers.d/*.conf),$(SYSUSERS))
	$(call install_text,systemd/mailcow-certsync.catalog,$(CATALOG))
	install -D -m 755 systemd/mailcow-cert-alert $(DESTDIR)$(LIBEXECDIR)/mailcow-cert-alert
	$(call install_text,README.md LICENSE CHANGELOG.md $(wildcard docs/*.md conf/*.conf),$(DOCDIR))
	$(call install_text,$(wildcard conf/monitoring/*.*),$(DOCDIR)/monitoring)
	$(call install_text,$(wildcard conf/monitoring/ping/*),$(DOCDIR)/monitoring/ping)
	install -D -m 644 conf/bash-completion/mailcow-certsync $(DESTDIR)$(COMPLETION)/mailcow-cert-push
	install -D -m 644 conf/bash-completion/mailcow-certsync $(DESTDIR)$(COMPLETION)/mailcow-cert-deploy
	$(call install_text,$(wildcard conf/sshd_config.d/*.conf),$(DATADIR)/sshd_config.d)
	$(call install_text,conf/renewal-hooks/deploy/mailcow-cert-push,$(DATADIR)/renewal-hooks/deploy)
	chmod 755 $(DESTDIR)$(DATADIR)/renewal-hooks/deploy/mailcow-cert-push

# ---- Debian packages ----

PACKAGES_DEB := build-essential debhelper dpkg-dev pkgconf systemd

PACKAGED := CHANGELOG.md LICENSE Makefile README.md common conf debian deployer docs pusher systemd

.PHONY: deb
deb: ## build the Debian packages, in build/deb
	$(call install_packages,$(PACKAGES_BUILD) $(PACKAGES_DEB))
	@$(MAKE) $(O)/deb/built
	@ls $(O)/deb/*.deb

# Built from a copy; what was said to this make (O=, CFLAGS=) is not for that one.
$(O)/deb/built: $(shell find $(PACKAGED) -type f)
	rm -rf $(@D) && mkdir -p $(@D)/source
	cp -a $(PACKAGED) $(@D)/source
	cd $(@D)/source && env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS -u O \
	    DEB_BUILD_OPTIONS="noautodbgsym parallel=$$(nproc)" dpkg-buildpackage --build=binary --no-sign >../build.log 2>&1 || \
	    { tail -n 50 ../build.log; exit 1; }
	rm -rf $(@D)/source
	touch $@

# ---- tests; they need root, and install the Debian packages that they need ----

PACKAGES_BUILD := gcc libc6-dev make libssh2-1-dev libssl-dev libsystemd-dev libinih-dev libcurl4-openssl-dev libjansson-dev libseccomp-dev
PACKAGES_TEST  := clang libclang-rt-dev libcmocka-dev lintian mandoc shellcheck strace systemd valgrind $(shell sed 's/#.*//' tests/lab/packages)

# Installs what is missing of the packages named, and asks for nothing when nothing is.
define install_packages
	@missing=$$(for p in $(1); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q '^install ok' || echo $$p; done); \
	if [ -n "$$missing" ]; then \
	    echo "installing:" $$missing; \
	    apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $$missing >/dev/null; \
	fi
endef

.PHONY: packages
packages: ## install the Debian packages that building and testing need
	$(call install_packages,$(PACKAGES_BUILD) $(PACKAGES_DEB) $(PACKAGES_TEST))

.PHONY: demo
demo: packages ## start the lab, renew a certificate, push it, show what every port serves
	$(MAKE) all
	$(PYTHON) -m tests.lab demo

.PHONY: test
test: packages ## everything: both compilers, unit tests under sanitizers, system tests
	$(MAKE) lint unit
	$(MAKE) system

# Warnings are errors here, with both compilers; -fanalyzer would find more in C than in OpenSSL's macros.
.PHONY: lint
lint: ## build with gcc and clang, warnings being errors
	$(MAKE) O=$(O)/gcc CC=gcc CFLAGS='-O2 -g -Werror' all
	$(MAKE) O=$(O)/clang CC=clang CFLAGS='-O2 -g -Werror' all
	shellcheck .ci/run conf/bash-completion/* systemd/mailcow-cert-alert conf/renewal-hooks/deploy/*

UNIT_O    := $(O)/unit
UNIT_RUNS := $(patsubst tests/unit/%.c,$(UNIT_O)/tests/unit/%.run,$(UNIT))
TARGETS   := $(sort $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c)))

# What looks at freed memory, or at a limit of memory, can do so only without sanitizers.
PLAIN_O    := $(O)/unit-plain
PLAIN_RUNS := $(patsubst %,$(PLAIN_O)/tests/unit/test_%.run,cert judge_confined login secret)

.PHONY: unit
unit: ## the unit tests and the fuzz corpora, under AddressSanitizer and UndefinedBehaviorSanitizer
	$(MAKE) O=$(UNIT_O) SANITIZE=1 $(UNIT_RUNS) $(TARGETS:%=$(UNIT_O)/tests/fuzz/%.replayed)
	$(MAKE) O=$(PLAIN_O) $(PLAIN_RUNS)

$(O)/tests/fuzz/%.replayed: $(O)/tests/fuzz/replay_%
	$< tests/fuzz/corpus/$*

%.run: % $(O)/fixtures/made
	FIXTURES=$(O)/fixtures $<

$(O)/fixtures/made: tests/unit/fixtures.py tests/lab/pki.py
	$(PYTHON) tests/unit/fixtures.py $(@D)
	touch $@

$(O)/tests/system/ssh_driver: $(O)/tests/system/ssh_driver.o $(call obj,$(PUSHER)) $(O)/common.a
	$(CC) $(LDALL) -o $@ $^ $(LIBS_PUSHER) $(LIBS_COMMON)

# TESTS=tests/system/test_push.py runs a part; SANITIZE=1 runs the product under the sanitizers.
TESTS ?= tests/system
# So many labs at a time, each with its own hosts; most of a test is waiting. What fails is tried once more, and told (R): the
# machine may be busy.
LABS  ?= 2
.PHONY: system
system: ## the system tests, on the lab's real sshd, Docker Engine, Postfix, Dovecot and nginx
	t=$$(mktemp -d) && trap 'rm -rf "$$t"' EXIT && \
	CERTSYNC_LAB_MAKE="O=$(O)/$(if $(SANITIZE),lab-san SANITIZE=1,lab)" $(PYTHON) -m pytest -q -rR -n $(LABS) --dist loadfile --reruns 1 --basetemp="$$t/t" $(TESTS)

# EVERY=10 takes one of ten points: all of them are some twelve thousand, and take three hours of two processors.
EVERY ?= 1
torture figures: LABS = 3
TORTURE = CERTSYNC_LAB_MAKE="O=$(O)/lab" $(PYTHON) -m tests.torture --every $(EVERY) --labs $(LABS) --json $(O)/torture.json
.PHONY: torture
torture: packages ## kill, fail and cut a deployment at each of its system calls; crowds; clients under load
	$(TORTURE)

.PHONY: figures
figures: packages ## the same, and docs/reliability.md from it
	$(TORTURE) --page

# FUZZ="wire judge" fuzzes only these, TIME is in seconds for each, JOBS how many at a time.
TIME ?= 60
JOBS ?= 1
FUZZ ?= $(TARGETS)
.PHONY: fuzz
fuzz: packages ## fuzz everything that reads what others wrote, TIME=60 seconds for each target
	$(MAKE) O=$(O)/fuzz CC=clang SANITIZE=fuzzer $(FUZZ:%=$(O)/fuzz/tests/fuzz/fuzz_%)
	$(PYTHON) -m tests.fuzz run --build $(O)/fuzz --time $(TIME) --jobs $(JOBS) $(FUZZ)

.PHONY: bench
bench: packages ## compare with a shell pipeline; medians, side by side
	$(MAKE) all
	$(PYTHON) -m tests.bench

.PHONY: clean
clean: ## remove what was built
	rm -rf $(O)

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
