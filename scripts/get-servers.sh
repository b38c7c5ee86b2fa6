#!/usr/bin/env bash
# get-servers.sh DEST [WHAT...]: put the servers that the tests need into DEST. Nothing is installed system-wide.
#
#   WHAT    etcd-3.4  etcd-3.5  consul  postgresql  mariadb  redis  faketime  cron     (all if none is named)
#   result  DEST/<WHAT>/{etcd,etcdctl}, DEST/consul/consul, DEST/postgresql/{postgres,initdb},
#           DEST/mariadb/mariadbd, DEST/redis/redis-server, DEST/faketime/libfaketime.so (no server: it shifts the
#           wall clock of one process), DEST/cron/cron
#
# They come from the distribution's packages, unpacked and not installed: Debian 12 has etcd 3.4 and the databases, Debian
# 13 etcd 3.5, Debian 11 Consul. Where from, is what this machine's own apt sources say. What is there already, and runs,
# is left alone. No root is needed. Without apt: it says what to do instead.
set -euo pipefail

dest=${1:?usage: get-servers.sh DEST [WHAT...]}
shift
[ $# -gt 0 ] || set -- etcd-3.4 etcd-3.5 consul postgresql mariadb redis faketime cron
mkdir -p "$dest"
dest=$(cd "$dest" && pwd)
temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT

version() { # WHAT
  case $1 in
    consul) "$dest/consul/consul" version ;;
    postgresql) "$dest/postgresql/initdb" --version >/dev/null && "$dest/postgresql/postgres" --version ;;
    mariadb) "$dest/mariadb/mariadbd" --version ;;
    redis) "$dest/redis/redis-server" --version ;;
    faketime)
      [ -x "$dest/faketime/libfaketime.so" ] &&
        [ "$(LD_PRELOAD="$dest/faketime/libfaketime.so" FAKETIME='@2000-01-01 12:00:00' date -u +%Y)" = 2000 ] &&
        echo "libfaketime shifts clocks"
      ;;
    cron) [ -x "$dest/cron/cron" ] && echo "Debian's" ;;
    *) "$dest/$1/etcd" --version ;;
  esac
}

need_apt() { # WHAT
  if command -v apt-get >/dev/null && command -v dpkg >/dev/null && sources "$1" >/dev/null; then return; fi
  cat >&2 <<END
get-servers.sh: cannot fetch $1: this machine has no apt with Debian sources.
Install etcd 3.5, Consul, PostgreSQL, MariaDB and Redis in your own way and have \`etcd\`, \`etcdctl\`, \`consul\`, \`postgres\`,
\`initdb\`, \`mariadbd\` and \`redis-server\` on PATH, or name a folder with etcd-3.4/etcd, etcd-3.4/etcdctl, etcd-3.5/etcd,
faketime/libfaketime.so (libfaketimeMT.so.1), and so on in LEASEKIT_SERVERS.
END
  exit 1
}

suite_of() { # WHAT
  local suite
  case $1 in
    etcd-3.4 | postgresql | mariadb | redis | faketime | cron) suite=bookworm ;;
    etcd-3.5) suite=trixie ;;
    consul) suite=bullseye ;;
  esac
  echo "$suite"
}

# This machine's own Debian source, for another suite.
sources() { # WHAT
  local suite
  suite=$(suite_of "$1")
  if [ -f /etc/apt/sources.list.d/debian.sources ]; then
    # The first stanza only, its Suites and Components replaced.
    sed "/^[[:space:]]*\$/,\$d; s/^Suites:.*/Suites: $suite/; s/^Components:.*/Components: main/" \
      /etc/apt/sources.list.d/debian.sources
  else
    grep -E '^deb .*[/ ]debian/? ' /etc/apt/sources.list 2>/dev/null | head -1 |
      sed -E "s/^(deb (\[[^]]*\] )?[^ ]+) [^ ]+ .*/\1 $suite main/" | grep .
  fi
}

# An apt of our own, for one suite: the machine's lists and packages are not touched.
apt() { # SUITE CACHE ARGUMENT...
  local state="$temp/suite-$1" cache=$2 options
  shift 2
  options=(-q
    -o "Dir::Etc::sourcelist=$(echo "$state"/one.*)" -o Dir::Etc::sourceparts=/dev/null
    -o Dir::Etc::preferencesparts=/dev/null
    -o "Dir::State=$state" -o "Dir::State::lists=$state/lists" -o Dir::State::status=/dev/null
    -o "Dir::Cache=$cache" -o APT::Default-Release= -o Acquire::Languages=none -o Acquire::Retries=3
    -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false)
  # As root, apt would download as a user who may not read our folder.
  [ "$(id -u)" != 0 ] || options+=(-o APT::Sandbox::User=root)
  mkdir -p "$cache/archives/partial"
  if ! apt-get "${options[@]}" "$@" >>"$cache/log" 2>&1; then
    cat "$cache/log" >&2
    echo "get-servers.sh: apt-get $1 failed (its words are above)" >&2
    return 1
  fi
}

# What a suite has, asked once however many servers come from it.
refresh() { # WHAT
  local state
  state="$temp/suite-$(suite_of "$1")"
  mkdir -p "$state/lists/partial"
  sources "$1" >"$state/$([ -f /etc/apt/sources.list.d/debian.sources ] && echo one.sources || echo one.list)"
  apt "$(suite_of "$1")" "$state/cache" update
}

# Download packages and unpack them together.
unpack() { # WHAT PACKAGE...
  local what=$1 file
  shift
  rm -rf "$temp/$what/debs"
  mkdir -p "$temp/$what/debs"
  (cd "$temp/$what/debs" && apt "$(suite_of "$what")" "$temp/$what/cache" download "$@") || exit 1
  for file in "$temp/$what"/debs/*.deb; do dpkg -x "$file" "$temp/$what/root"; done
}

# Into place in one go, so that an interrupted run leaves nothing half done.
place() { # WHAT PROGRAM...
  local what=$1 program
  shift
  rm -rf "$dest/.$what.new"
  mkdir "$dest/.$what.new"
  for program; do install -m 755 "$temp/$what/root/usr/bin/$program" "$dest/.$what.new/"; done
  rm -rf "${dest:?}/$what"
  mv "$dest/.$what.new" "$dest/$what"
}

# The same for a server that is a tree of files. Its own shared libraries come along only if this machine lacks one.
place_tree() { # WHAT PATH... -- PROGRAM... -- LIBRARY-PACKAGE...
  local what=$1 root="$temp/$1/root" new="$dest/.$1.new" path program programs=()
  shift
  rm -rf "$new"
  mkdir -p "$new/lib"
  while [ "$1" != -- ]; do
    path=$1
    mkdir -p "$new/$(dirname "$path")"
    cp -a "$root/$path" "$new/$path"
    shift
  done
  shift
  while [ "$1" != -- ]; do
    programs+=("$new/$1")
    program=$(basename "$1")
    # Where it stands is asked when it runs, so that the folder may be moved.
    printf '%s\n' '#!/bin/sh' 'here=$(dirname "$(readlink -f "$0")")' \
      'LD_LIBRARY_PATH="$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" exec "$here/'"$1"'" "$@"' >"$new/$program"
    chmod 755 "$new/$program"
    shift
  done
  shift
  # No pipe into `grep -q`: it stops reading at the first find, and ldd's complaint about that would count as "no".
  if [[ $(ldd "${programs[@]}" 2>&1) == *"not found"* ]]; then
    unpack "$what" "$@"
    find "$root/lib" "$root/usr/lib" -name '*.so.*' -path '*-linux-*' ! -path '*/*-linux-*/*/*' -exec cp -a {} "$new/lib/" \;
  fi
  rm -rf "${dest:?}/$what"
  mv "$new" "$dest/$what"
}

fetch() { # WHAT
  case $1 in
    postgresql)
      unpack postgresql postgresql-15
      # Compiling queries needs LLVM, which is larger than all the rest.
      rm -rf "$temp"/postgresql/root/usr/lib/postgresql/15/lib/{bitcode,llvmjit*}
      place_tree postgresql usr/lib/postgresql/15 usr/share/postgresql/15 -- \
        usr/lib/postgresql/15/bin/postgres usr/lib/postgresql/15/bin/initdb -- \
        libpq5 libicu72 libxml2 libldap-2.5-0 libsasl2-2 libgssapi-krb5-2 libkrb5-3 libk5crypto3 libkrb5support0 \
        libcom-err2 libkeyutils1 libpam0g libaudit1 libcap-ng0 libsystemd0 libcap2 libgcrypt20 libgpg-error0 \
        libgnutls30 libp11-kit0 libidn2-0 libunistring2 libtasn1-6 libnettle8 libhogweed6 libgmp10 libffi8 liblz4-1 \
        libzstd1 liblzma5 libssl3 zlib1g libstdc++6 libgcc-s1
      ;;
    mariadb)
      unpack mariadb mariadb-server-core
      place_tree mariadb usr/sbin/mariadbd usr/share/mysql/english usr/share/mysql/charsets -- usr/sbin/mariadbd -- \
        libaio1 liburing2 libnuma1 libpcre2-8-0 libcrypt1 libsystemd0 libcap2 libgcrypt20 libgpg-error0 liblz4-1 \
        libzstd1 liblzma5 libssl3 zlib1g libstdc++6 libgcc-s1
      ;;
    redis)
      unpack redis redis-tools redis-server
      place_tree redis usr/bin/redis-check-rdb usr/bin/redis-server -- usr/bin/redis-server -- \
        liblzf1 libjemalloc2 libatomic1 libsystemd0 libcap2 libgcrypt20 libgpg-error0 liblz4-1 libzstd1 liblzma5 libssl3 \
        libstdc++6 libgcc-s1
      ;;
    faketime)
      unpack faketime libfaketime
      rm -rf "$dest/.faketime.new"
      mkdir "$dest/.faketime.new"
      # The variant for programs with threads.
      install -m 755 "$temp"/faketime/root/usr/lib/*/faketime/libfaketimeMT.so.1 "$dest/.faketime.new/libfaketime.so"
      rm -rf "$dest/faketime"
      mv "$dest/.faketime.new" "$dest/faketime"
      ;;
    cron)
      unpack cron cron
      mkdir -p "$temp/cron/root/usr/bin"
      mv "$temp/cron/root/usr/sbin/cron" "$temp/cron/root/usr/bin/"
      place cron cron
      ;;
    consul)
      unpack consul consul
      place consul consul
      ;;
    *)
      unpack "$1" etcd-server etcd-client
      place "$1" etcd etcdctl
      ;;
  esac
}

missing=()
for what; do
  case $what in
    etcd-3.4 | etcd-3.5 | consul | postgresql | mariadb | redis | faketime | cron) ;;
    *) echo "get-servers.sh: unknown server: $what" >&2 && exit 2 ;;
  esac
  version "$what" >/dev/null 2>&1 || missing+=("$what")
done

# All that is missing at the same time: first the suites' lists, then the packages.
jobs=()
for what in ${missing[@]+"${missing[@]}"}; do
  need_apt "$what"
  [ -d "$temp/suite-$(suite_of "$what")" ] && continue
  mkdir "$temp/suite-$(suite_of "$what")"
  refresh "$what" &
  jobs+=($!)
done
for job in ${jobs[@]+"${jobs[@]}"}; do wait "$job"; done
jobs=()
for what in ${missing[@]+"${missing[@]}"}; do
  fetch "$what" &
  jobs+=($!)
done
for job in ${jobs[@]+"${jobs[@]}"}; do wait "$job"; done
for what; do echo "$what: $(version "$what" | head -1)"; done
