#!/usr/bin/env bash
# scripts/test-packages.sh TARBALL DEB: tries npx, "npm install --global" and the Debian package in a bare Debian 12 root file
# system. Needs root, debootstrap, and a Debian mirror ($DEBIAN_MIRROR). Debian 12 has Node 18, so this machine's Node and npm go in
# as a package "nodejs", like the one of NodeSource.
set -euo pipefail
tarball=$(realpath "$1")
deb=$(realpath "$2")
version=$(tar --extract --gzip --to-stdout --file "$tarball" package/package.json | node -p 'JSON.parse(fs.readFileSync(0, "utf8")).version')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root

debootstrap --variant=minbase --include=procps,man-db bookworm "$root" "${DEBIAN_MIRROR:-http://deb.debian.org/debian}" >"$work/debootstrap.log" ||
  { tail -20 "$work/debootstrap.log"; exit 1; }

# The package of Node.
node=$work/nodejs
install -D -m 0755 "$(node -p process.execPath)" "$node/usr/bin/node"
mkdir -p "$node/usr/lib/node_modules" "$node/DEBIAN"
cp -r "$(npm root --global)/npm" "$node/usr/lib/node_modules/npm"
ln -s ../lib/node_modules/npm/bin/npm-cli.js "$node/usr/bin/npm"
ln -s ../lib/node_modules/npm/bin/npx-cli.js "$node/usr/bin/npx"
printf 'Package: nodejs\nVersion: %s\nArchitecture: all\nMaintainer: none\nDescription: Node of the machine that tests\n' \
  "$(node -p process.versions.node)" >"$node/DEBIAN/control"
dpkg-deb --root-owner-group --build "$node" "$root/root/nodejs.deb" >/dev/null
cp "$tarball" "$root/root/clay-reaper.tgz"
cp "$deb" "$root/root/clay-reaper.deb"

cat >"$root/root/test.sh" <<'END'
set -eu
version=$1
cd /root
export HOME=/root npm_config_offline=true npm_config_update_notifier=false npm_config_fund=false npm_config_audit=false
check() { # check NAME EXPECTED COMMAND...: the output has to contain EXPECTED
  name=$1 expected=$2
  shift 2
  output=$("$@" 2>&1) || [ $? -eq 3 ] || { echo "FAILED: $name: $output"; exit 1; }
  case $output in
    *"$expected"*) echo "ok: $name" ;;
    *) echo "FAILED: $name: expected \"$expected\", not \"$output\""; exit 1 ;;
  esac
}
dpkg --install nodejs.deb >/dev/null

check 'npx of the tarball shows its version' "$version" npx --yes --package ./clay-reaper.tgz clay-reaper --version
check 'npx of the tarball looks for a Clay' 'Clay' npx --yes --package ./clay-reaper.tgz clay-reaper status

npm install --global ./clay-reaper.tgz >/dev/null
check 'npm install --global puts it on the PATH' "$version" clay-reaper --version
check 'npm install --global: status' 'Clay' clay-reaper status
check 'npm install --global links the man page' 'clay-reaper.8' man --where clay-reaper
check 'npm install --global: install --dry-run' 'would write /etc/systemd/system/clay-reaper.service' clay-reaper install --dry-run
npm uninstall --global clay-reaper >/dev/null
[ ! -e /usr/bin/clay-reaper ] || { echo 'FAILED: npm uninstall leaves the program'; exit 1; }

dpkg --install clay-reaper.deb >/dev/null
check 'the Debian package: version' "$version" clay-reaper --version
check 'the Debian package: status' 'Clay' clay-reaper status
check 'the Debian package: man page' '/usr/share/man/man8/clay-reaper.8.gz' man --where clay-reaper
check 'the Debian package: its configuration is valid' '' clay-reaper config --check
check 'the Debian package: unit' '/usr/bin/node' cat /usr/lib/systemd/system/clay-reaper.service
check 'the Debian package: configuration file of dpkg' '/etc/clay-reaper/config.toml' \
  dpkg-query --showformat '${Conffiles}' --show clay-reaper
echo '# mine' >>/etc/clay-reaper/config.toml
dpkg --remove clay-reaper >/dev/null
check 'dpkg --remove keeps the configuration' '# mine' cat /etc/clay-reaper/config.toml
dpkg --purge clay-reaper >/dev/null
for path in /etc/clay-reaper /usr/lib/clay-reaper /usr/bin/clay-reaper /usr/share/doc/clay-reaper; do
  [ ! -e "$path" ] || { echo "FAILED: dpkg --purge leaves $path"; exit 1; }
done
echo 'ok: dpkg --purge leaves nothing'
END

# A pid namespace of its own: what the tests start ends with it, and no process of this machine is seen.
unshare --mount --pid --fork --kill-child sh -c \
  'mount -t proc proc "$1/proc" && mount -t tmpfs tmpfs "$1/tmp" && exec chroot "$1" sh /root/test.sh "$2"' sh "$root" "$version"
