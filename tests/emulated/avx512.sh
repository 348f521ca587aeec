#!/usr/bin/env bash
# Runs what is written for AVX-512 on a machine that need not have it: boots Linux in the emulator Bochs, on a
# processor with AVX-512, and there the tests and scripts of the list below.
#
#   tests/emulated/avx512.sh            all of them
#   tests/emulated/avx512.sh gemm       those whose line has the word `gemm`
#
# Exit code: 0 all passed, 1 one failed, 2 a tool is missing or the emulator did not get to the end.
# On Debian: apt install bochs bochs-term bochsbios vgabios busybox-static cpio genisoimage isolinux
# BOCHS names another Bochs; one that is built without a debugger is twice as fast. KERNEL names a kernel with a
# driver for serial ports in it; without, Debian's newest for the cloud is downloaded.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
root=$(pwd -P)
bochs=${BOCHS:-bochs}
bios=/usr/share/bochs
boot=(/usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32)

# A package's folder, one of its test programs, and what to tell it. The emulator adds and multiplies some ten
# million numbers a second: left out is what would take it more than minutes. Other square roots are wrong there:
# Bochs, 3.0 as well, says that vrsqrt14ps of 2 is 1, and so for all odd powers of two.
list='
runtime aec_runtime
runtime linalg
runtime gemm --skip columns_that_share_sets --skip an_epilogue_takes --skip panels_are_read
compiler/codegen constants
compiler/codegen draws
compiler/codegen plans
compiler/codegen kernels
compiler/codegen roots roots_at_the_ends_of_the_range
compiler/driver trees
compiler/driver AEC_PROGRAMS=50 programs
compiler/cli aec test ../../tests/language/products.ae ../../tests/language/linalg.ae ../../tests/language/loops.ae
compiler/cli aec test ../../tests/language/randomness.ae ../../tests/language/gradients.ae ../../tests/language/trees.ae
compiler/cli aec test ../../examples/digits.ae
'
list=$(grep -e "${1:-.}" <<<"$list") || { echo "nothing in the list has the word $1" >&2; exit 2; }

missing=()
for tool in "$bochs" script cpio genisoimage ldd strip; do
  command -v "$tool" >/dev/null || missing+=("$tool")
done
busybox=$(command -v busybox) && ! ldd "$busybox" >/dev/null 2>&1 || missing+=("a static busybox")
for file in "${boot[@]}" $bios/BIOS-bochs-latest $bios/VGABIOS-lgpl-latest; do
  [[ -e $file ]] || missing+=("$file")
done
[[ -n ${KERNEL:-} ]] || command -v apt-get >/dev/null || missing+=("apt-get, or a kernel in KERNEL")
if ((${#missing[@]})); then
  printf 'missing: %s\n' "${missing[@]}" >&2
  exit 2
fi
[[ $("$bochs" --help cpu 2>&1) == *corei7_skylake_x* ]] || { echo "$bochs has no AVX-512" >&2; exit 2; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
guest=$folder/guest
mkdir -p "$guest"/{bin,dev,proc,tmp,iso,lib64,lib/x86_64-linux-gnu} "$guest$root" "$folder/iso/isolinux"

if [[ -z ${KERNEL:-} ]]; then
  name=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: //p' | head -n 1)
  (cd "$folder" && apt-get download -qq "$name" 2>/dev/null && dpkg-deb -x ./*.deb kernel) ||
    { echo "no kernel could be downloaded; KERNEL may name one" >&2; exit 2; }
  KERNEL=$(echo "$folder"/kernel/boot/vmlinuz-*)
fi

# Programs lie in the folders of their packages: those of different packages share names.
cargo test --release --workspace --no-run --message-format=json >"$folder/built" || exit 2
sed -n 's|.*"package_id":"path+file://\([^"#]*\)#.*"executable":"\([^"]*/deps/[^"]*\)".*|\1 \2|p' "$folder/built" |
  while read -r package program; do
    package=${package#"$root/"} name=${program##*/}
    name=${name%-*}
    grep -q "^$package .*\b$name\b" <<<"$list" || continue
    mkdir -p "$guest/bin/$package"
    strip -o "$guest/bin/$package/$name" "$program"
  done
aec=$(sed -n 's|.*"executable":"\([^"]*/aec\)".*|\1|p' "$folder/built")
mkdir -p "$guest/bin/compiler/cli"
strip -o "$guest/bin/compiler/cli/aec" "$aec"
find "$guest/bin" -type f -exec ldd {} + | grep -o '/[^ ]*\.so[^ ]*' | sort -u | while read -r library; do
  [[ $library == /lib64/* ]] && to=lib64 || to=lib/x86_64-linux-gnu
  cp -L "$library" "$guest/$to/"
done
cp "$busybox" "$guest/bin/busybox"
git ls-files -- stdlib tests examples docs runtime compiler | grep -v '\.rs$' | cpio -pdm --quiet "$guest$root"
grep . <<<"$list" >"$guest/list"

cat >"$guest/init" <<END
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
exec >/dev/ttyS0 2>&1
grep -q avx512vl /proc/cpuinfo || echo "the kernel does not see AVX-512"
export HOME=/tmp RUST_BACKTRACE=1
while read -r package command; do
  echo "== \$package \$command"
  cd "$root/\$package"
  PATH="/bin/\$package:/bin" sh -c "\$command" </dev/null && echo "== passed" || echo "== FAILED"
done </list
echo "== all was run"
# What is still on its way to the serial port would be lost.
sleep 1
poweroff -f
END
chmod +x "$guest/init"

cp "${boot[@]}" "$folder/iso/isolinux/"
cp "$KERNEL" "$folder/iso/vmlinuz"
(cd "$guest" && find . | cpio -o -H newc --quiet) >"$folder/iso/initrd"
# Bochs 2.7 tells a wrong size of the state that XSAVEC and XSAVES write, and a kernel that sees it uses no AVX.
cat >"$folder/iso/isolinux/isolinux.cfg" <<END
default linux
label linux
  kernel /vmlinuz
  append initrd=/initrd rdinit=/init console=ttyS0 quiet panic=-1 nosmp nokaslr mitigations=off nowatchdog tsc=reliable lpj=1000000 random.trust_cpu=on clearcpuid=xsaves,xsavec
END
genisoimage -quiet -R -o "$folder/boot.iso" -b isolinux/isolinux.bin -c isolinux/boot.cat \
  -no-emul-boot -boot-load-size 4 -boot-info-table "$folder/iso"
cat >"$folder/bochsrc" <<END
cpu: model=corei7_skylake_x, ips=50000000
megs: 2048
romimage: file=$bios/BIOS-bochs-latest
vgaromimage: file=$bios/VGABIOS-lgpl-latest
ata0-master: type=cdrom, path=$folder/boot.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$folder/serial
clock: sync=none
display_library: term
panic: action=fatal
log: $folder/log
END
command="$bochs -q -f $folder/bochsrc"
# A Bochs with a debugger waits for commands.
if [[ $("$bochs" --help 2>&1) == *" -rc "* ]]; then
  echo continue >"$folder/commands"
  command+=" -rc $folder/commands"
fi

touch "$folder/serial"
tail --pid=$$ -f "$folder/serial" &
# Its display wants a terminal, which nobody needs to see.
TERM=xterm script -qfc "$command" "$folder/screen" </dev/null >/dev/null || true
sleep 1

if ! grep -q '== all was run' "$folder/serial"; then
  echo "the emulator ended early:" >&2
  tail -n 5 "$folder/log" >&2
  exit 2
fi
! grep -q -e '== FAILED' -e 'does not see AVX-512' "$folder/serial"
