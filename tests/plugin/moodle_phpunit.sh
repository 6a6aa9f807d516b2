#!/usr/bin/env bash
# The plugin's PHPUnit tests, inside a real Moodle or IOMAD.
#
#   tests/plugin/moodle_phpunit.sh MOODLE_DIR [arguments for phpunit, such as --filter privacy]
#
# MOODLE_DIR is an installed site whose config.php sets $CFG->phpunit_prefix and $CFG->phpunit_dataroot, with this plugin
# in local/manireports. Its vendor folder is used where composer has made one; where it has not, Debian's package phpunit
# (9.6) takes its place: a vendor folder of three small files that lead there. The first run installs Moodle's test
# tables, which takes some minutes; later runs only when a version has changed.
set -euo pipefail
moodle=$(cd "${1:?usage: $0 MOODLE_DIR [phpunit arguments]}" && pwd)
shift
code=$moodle
[ -d "$moodle/public/lib" ] && code=$moodle/public
[ -f "$code/local/manireports/version.php" ] || { echo "$code/local/manireports is not there" >&2; exit 2; }

vendor=$moodle/vendor
if [ ! -e "$vendor/autoload.php" ]; then
  autoload=/usr/share/php/PHPUnit/Autoload.php
  [ -f "$autoload" ] || { echo "phpunit is not installed: apt-get install phpunit" >&2; exit 2; }
  mkdir -p "$vendor/bin" "$vendor/phpunit/phpunit"
  printf '<?php\nrequire_once %s;\n' "'$autoload'" > "$vendor/autoload.php"
  printf '<?php\nrequire_once dirname(__DIR__) . "/autoload.php";\nPHPUnit\\TextUI\\Command::main();\n' > "$vendor/bin/phpunit"
  printf '{"name": "phpunit/phpunit"}\n' > "$vendor/phpunit/phpunit/composer.json"
fi

if ! locale -a 2>/dev/null | grep -qi '^en_AU\.utf-\?8$'; then
  # Moodle's tests ask for this locale; where it is not installed, the C locale of the same name serves.
  locales=$(mktemp -d)
  trap 'rm -rf "$locales"' EXIT
  cp -r /usr/lib/locale/C.utf8 "$locales/en_AU.utf8"
  export LOCPATH=$locales
fi

php=(php -d max_input_vars=5000 -d memory_limit=1G)
util=$code/admin/tool/phpunit/cli/util.php
status=0
"${php[@]}" "$util" --diag > /dev/null 2>&1 || status=$?
case $status in
  0) ;;
  140) "${php[@]}" "$util" --install ;;
  141) "${php[@]}" "$util" --drop && "${php[@]}" "$util" --install ;;
  *) "${php[@]}" "$util" --diag; exit "$status" ;;
esac
"${php[@]}" "$util" --buildconfig > /dev/null
cd "$moodle"
"${php[@]}" "$vendor/bin/phpunit" -c "$moodle/phpunit.xml" --testsuite local_manireports_testsuite "$@"
