# What the scripts share: finding and installing what they need. Sourced, not run.
#
# Every function says what it installs before it does. Debian packages come through apt-get (with sudo where we are
# not root), Node tools through npm, at the versions below.

PNPM_VERSION=12.21.0
NODE_VERSION=22.23.3
# Vite 7 and 8 need at least this.
NODE_MIN=20.19.0

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Node tools that only tests and benchmarks use: nothing of theirs lands outside of the checkout.
TOOLS="$ROOT/target/tools"
export PATH="$HOME/.cargo/bin:$HOME/.local/bin:/usr/local/bin:$PATH"

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; elif have sudo; then sudo "$@"; else die "this needs root: $*"; fi
}

# missing_debian PACKAGE…: which of them are not installed yet, one a line.
missing_debian() {
  local package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || echo "$package"
  done
}

# need_debian PACKAGE…: Debian or Ubuntu packages that are not installed yet.
need_debian() {
  local missing; mapfile -t missing < <(missing_debian "$@")
  [ ${#missing[@]} = 0 ] && return
  say "installing Debian packages: ${missing[*]}"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# nginx with the module for `.br` copies, where Debian or Ubuntu has it (Debian 12, Ubuntu 24.04; not Ubuntu 22.04). It is not
# started, now or at boot: tests and measurements run their own on free ports.
need_nginx() {
  have /usr/sbin/nginx || without_services need_debian nginx-light
  local module=libnginx-mod-http-brotli-static
  if apt-cache show "$module" >/dev/null 2>&1; then without_services need_debian "$module"; fi
}

# Runs a command while installations do not start services (policy-rc.d: 101 forbids it), unless there is a policy already.
without_services() {
  local policy=/usr/sbin/policy-rc.d
  if [ -e "$policy" ]; then "$@"; return; fi
  local nginx_was=no; have /usr/sbin/nginx && nginx_was=yes
  printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
  as_root chmod 755 "$policy"
  local status=0
  "$@" || status=$?
  as_root rm -f "$policy"
  # Where nginx is new here, nobody wants it at boot.
  if [ "$nginx_was" = no ] && have systemctl && have /usr/sbin/nginx; then as_root systemctl disable --quiet nginx 2>/dev/null || true; fi
  return "$status"
}

need_rust() {
  have cargo || die "Rust is needed (1.95 or newer): https://rustup.rs"
  need_debian gcc libc6-dev
}

# at_least HAVE WANT: compares versions.
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]; }

# Where programs of ours may be put: for everybody where we can, else for this user.
bin_dir() {
  if [ -w /usr/local/bin ]; then echo /usr/local/bin; else mkdir -p "$HOME/.local/bin" && echo "$HOME/.local/bin"; fi
}

# Whether Node.js and npm are there, and new enough.
node_fits() {
  local now; now=$(node --version 2>/dev/null | tr -d v || true)
  [ -n "$now" ] && at_least "$now" "$NODE_MIN" && have npm
}

pnpm_fits() {
  local now; now=$(pnpm --version 2>/dev/null || true)
  [ -n "$now" ] && at_least "$now" 12.0.0
}

# Node.js: Debian's is too old for Vite 8, so a newer one comes through Debian's npm.
need_node() {
  node_fits && return
  need_debian ca-certificates nodejs npm
  hash -r
  local now; now=$(node --version | tr -d v)
  at_least "$now" "$NODE_MIN" && return
  local arch bin; bin=$(bin_dir)
  case "$(uname -m)" in x86_64) arch=x64 ;; aarch64) arch=arm64 ;; *) die "no Node.js $NODE_VERSION for $(uname -m)" ;; esac
  local prefix; prefix="$(dirname "$bin")/lib/previewd-node"
  say "installing Node.js $NODE_VERSION into $prefix (Debian's is $now)"
  npm install --loglevel=error --no-audit --no-fund --prefix "$prefix" "node-linux-$arch@$NODE_VERSION" >/dev/null
  ln -sf "$prefix/node_modules/node-linux-$arch/bin/node" "$bin/node"
  hash -r
}

need_pnpm() {
  need_node
  pnpm_fits && return
  local prefix; prefix=$(dirname "$(bin_dir)")
  say "installing pnpm $PNPM_VERSION into $prefix"
  npm install --loglevel=error --no-audit --no-fund --global --prefix "$prefix" "pnpm@$PNPM_VERSION" >/dev/null
  hash -r
}

# Azurite, playwright-core, axe-core and TypeScript, as tests/tools/package-lock.json has them: into target/tools.
need_node_tools() {
  need_node
  cmp -s "$ROOT/tests/tools/package-lock.json" "$TOOLS/package-lock.json" && [ -d "$TOOLS/node_modules/azurite" ] && return
  say "installing Azurite, playwright-core, axe-core and TypeScript into target/tools"
  mkdir -p "$TOOLS"
  cp "$ROOT/tests/tools/package.json" "$ROOT/tests/tools/package-lock.json" "$TOOLS"
  if ! npm ci --loglevel=error --no-audit --no-fund --ignore-scripts --prefix "$TOOLS" >/dev/null; then
    # Not done: the next run must not take it for done.
    rm -f "$TOOLS/package-lock.json"
    die "the Node tools could not be installed"
  fi
}

# schemathesis, httpx and mypy, as tests/tools/requirements.txt has them: into target/tools/python. With the system's Python, which
# python3-venv belongs to.
need_python_tools() {
  local venv="$TOOLS/python" wanted="$ROOT/tests/tools/requirements.txt"
  cmp -s "$wanted" "$venv/requirements.txt" && "$venv/bin/schemathesis" --version >/dev/null 2>&1 && return
  need_debian ca-certificates python3 python3-venv
  say "installing schemathesis, httpx and mypy into target/tools/python"
  mkdir -p "$TOOLS"
  rm -rf "$venv"
  /usr/bin/python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r "$wanted" \
    || die "the Python tools could not be installed"
  cp "$wanted" "$venv/requirements.txt"
}
