#!/bin/sh
# Compiles the bundled tools to WebAssembly components and leaves them, ready to run, in
# .setup/plugins/<name>/{plugin.toml,<name>.wasm}. Quick when nothing changed.
#
# A compiler for WebAssembly is looked for in this order:
#   1. rustup's target wasm32-unknown-unknown    (rustup target add wasm32-unknown-unknown)
#   2. Debian's compiler, which builds the standard library from source
#      (apt-get install --no-install-recommends rustc-web cargo-web rust-web-src lld-22)
#
# Environment: CARGO               the cargo that builds native code (default: cargo on the PATH)
#              CARGO_TARGET_DIR    where native code is built (default: target)
#              GUEST_TARGET_DIR    where guests are built (default: .setup/guest-target)
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
tools=$root/plugins/tools
out=$root/.setup/plugins
guest_target=${GUEST_TARGET_DIR:-$root/.setup/guest-target}
target=wasm32-unknown-unknown

say() { printf 'plugins: %s\n' "$*"; }
fail() { printf 'plugins: %s\n' "$*" >&2; exit 1; }

# Everything that a component is made of, as one number.
fingerprint() {
    cd "$root"
    find plugins/wit plugins/sdk/Cargo.toml plugins/sdk/src plugins/tools/Cargo.toml \
        plugins/tools/Cargo.lock plugins/tools/*/Cargo.toml plugins/tools/*/src \
        plugins/host/src/component.rs plugins/host/src/bin plugins/build.sh Cargo.lock \
        -type f -exec cksum {} + | LC_ALL=C sort | cksum
}

has_rustup_target() {
    command -v rustc >/dev/null && [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]
}

has_debian() {
    [ -x /usr/bin/cargo ] && [ -x /usr/bin/rustc ] && [ -x /usr/bin/wasm-ld-22 ] &&
        [ -f "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library/Cargo.lock" ]
}

# Compiles every guest to a core module.
compile() {
    if has_rustup_target; then
        say "compiling with rustup's target $target"
        (cd "$tools" && CARGO_TARGET_DIR=$guest_target \
            cargo build --locked --quiet --release --target $target)
    elif has_debian; then
        say "compiling with Debian's Rust; the first time takes a few minutes"
        (cd "$tools" && env -u RUSTUP_TOOLCHAIN -u RUSTFLAGS CARGO_TARGET_DIR="$guest_target" \
            RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_UNSTABLE_BUILD_STD=std,panic_abort \
            CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld-22 \
            /usr/bin/cargo build --locked --quiet --release --target $target)
    else
        fail "no compiler for WebAssembly. Run one of
    rustup target add $target
    apt-get install --no-install-recommends rustc-web cargo-web rust-web-src lld-22"
    fi
}

now=$(fingerprint)
for manifest in "$tools"/*/plugin.toml; do
    name=$(basename "$(dirname "$manifest")")
    mkdir -p "$out/$name"
    cmp -s "$manifest" "$out/$name/plugin.toml" || cp "$manifest" "$out/$name/plugin.toml"
    [ -f "$out/$name/$name.wasm" ] || now="$now, $name is missing"
done
if [ -f "$out/.fingerprint" ] && [ "$(cat "$out/.fingerprint")" = "$now" ]; then
    say "up to date in $out"
    exit 0
fi

compile
say "building gemma-plugin-component"
cd "$root"
${CARGO:-cargo} build --locked --quiet --release --workspace --bin gemma-plugin-component
component=${CARGO_TARGET_DIR:-$root/target}/release/gemma-plugin-component
for manifest in "$tools"/*/plugin.toml; do
    name=$(basename "$(dirname "$manifest")")
    "$component" "$guest_target/$target/release/$name.wasm" "$out/$name/$name.wasm"
    say "$out/$name/$name.wasm, $(wc -c <"$out/$name/$name.wasm") bytes"
done
fingerprint >"$out/.fingerprint"
