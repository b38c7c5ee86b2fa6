#!/usr/bin/env bash
# get-servers.sh DEST [WHAT...]: put the servers that the tests need into DEST. Nothing is installed system-wide.
#
#   WHAT    etcd-3.4  etcd-3.5  consul      (all three if none is named)
#   result  DEST/<WHAT>/{etcd,etcdctl} and DEST/consul/consul
#
# They come from the distribution's packages, unpacked and not installed: Debian 12 has etcd 3.4, Debian 13 etcd 3.5,
# Debian 11 Consul. Where from, is what this machine's own apt sources say. What is there already, and runs, is left alone.
# No root is needed. Without apt: it says what to do instead.
set -euo pipefail

dest=${1:?usage: get-servers.sh DEST [WHAT...]}
shift
[ $# -gt 0 ] || set -- etcd-3.4 etcd-3.5 consul
mkdir -p "$dest"
dest=$(cd "$dest" && pwd)
temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT

version() { # WHAT
  case $1 in
    consul) "$dest/consul/consul" version ;;
    *) "$dest/$1/etcd" --version ;;
  esac
}

need_apt() { # WHAT
  if command -v apt-get >/dev/null && command -v dpkg >/dev/null && sources "$1" >/dev/null; then return; fi
  cat >&2 <<END
get-servers.sh: cannot fetch $1: this machine has no apt with Debian sources.
Install etcd 3.5 and Consul in your own way and have \`etcd\`, \`etcdctl\` and \`consul\` on PATH, or name a folder with
etcd-3.4/etcd, etcd-3.4/etcdctl, etcd-3.5/etcd, etcd-3.5/etcdctl and consul/consul in LEASEKIT_SERVERS.
END
  exit 1
}

# This machine's own Debian source, for another suite.
sources() { # WHAT
  local suite
  case $1 in etcd-3.4) suite=bookworm ;; etcd-3.5) suite=trixie ;; consul) suite=bullseye ;; esac
  if [ -f /etc/apt/sources.list.d/debian.sources ]; then
    # The first stanza only, its Suites and Components replaced.
    sed "/^[[:space:]]*\$/,\$d; s/^Suites:.*/Suites: $suite/; s/^Components:.*/Components: main/" \
      /etc/apt/sources.list.d/debian.sources
  else
    grep -E '^deb .*[/ ]debian/? ' /etc/apt/sources.list 2>/dev/null | head -1 |
      sed -E "s/^(deb (\[[^]]*\] )?[^ ]+) [^ ]+ .*/\1 $suite main/" | grep .
  fi
}

# Download and unpack packages with an apt state of our own: the machine's lists and packages are not touched.
unpack() { # WHAT PACKAGE...
  local what=$1 state="$temp/$1" file options
  shift
  mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$state/debs"
  file="$state/$([ -f /etc/apt/sources.list.d/debian.sources ] && echo one.sources || echo one.list)"
  sources "$what" >"$file"
  options=(-q
    -o "Dir::Etc::sourcelist=$file" -o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::preferencesparts=/dev/null
    -o "Dir::State=$state" -o "Dir::State::lists=$state/lists" -o Dir::State::status=/dev/null
    -o "Dir::Cache=$state/cache" -o APT::Default-Release= -o Acquire::Languages=none -o Acquire::Retries=3
    -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false)
  # As root, apt would download as a user who may not read our folder.
  [ "$(id -u)" != 0 ] || options+=(-o APT::Sandbox::User=root)
  if ! { apt-get "${options[@]}" update && cd "$state/debs" && apt-get "${options[@]}" download "$@"; } \
    >"$state/log" 2>&1; then
    cat "$state/log" >&2
    echo "get-servers.sh: could not fetch $what (apt's words are above)" >&2
    exit 1
  fi
  for file in "$state"/debs/*.deb; do dpkg -x "$file" "$state/root"; done
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

fetch() { # WHAT
  case $1 in
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

fetching=()
for what; do
  case $what in etcd-3.4 | etcd-3.5 | consul) ;; *) echo "get-servers.sh: unknown server: $what" >&2 && exit 2 ;; esac
  if ! version "$what" >/dev/null 2>&1; then
    need_apt "$what"
    fetch "$what" &
    fetching+=($!)
  fi
done
for job in ${fetching[@]+"${fetching[@]}"}; do wait "$job"; done
for what; do echo "$what: $(version "$what" | head -1)"; done
