#!/usr/bin/env bash
# Runs every script of examples/, writes what it draws to docs/pictures, and what its golden file says
# it prints, beside the picture, to docs/gallery.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
aec="$PWD/target/release/aec"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

gallery=docs/gallery.md
{
  echo "# Gallery"
  echo
  echo "What the scripts of [examples/](../examples) say, print and draw. Made by \`docs/gallery.sh\`."
} >"$gallery"
for script in examples/*.ae; do
  name=$(basename "$script" .ae)
  (cd "$folder" && "$aec" run "$OLDPWD/$script" >/dev/null)
  printed=$(cat "${script%.ae}.out")
  picture=pictures/$name.png
  [[ $name == digits ]] && picture=digits.png
  cp "$folder/$name.png" "docs/$picture"
  {
    echo
    echo "## $name"
    echo
    # The comment at the head of the script, without its directives.
    sed -n '/^#/!q; /^# [a-z]*:/d; s/^# \{0,1\}//p' "$script"
    echo
    echo '```text'
    echo "$printed"
    echo '```'
    echo
    echo "![what $name.ae draws]($picture)"
    echo
    echo "[examples/$name.ae](../examples/$name.ae)"
  } >>"$gallery"
done
