<?php
// Stands in for a Moodle's config.php where none is at hand: the few parts of Moodle that our pages and observers
// use, over the tests' own MariaDB. MR_DATABASE (JSON: host, port, name) and MR_DATAROOT say where things are.

error_reporting(E_ALL);
set_error_handler(function (int $level, string $text, string $file, int $line): bool {
    throw new ErrorException($text, 0, $level, $file, $line);
});

require_once(__DIR__ . '/database.php');
require_once(__DIR__ . '/moodle.php');

foreach (['CLI_SCRIPT', 'WS_SERVER', 'AJAX_SCRIPT'] as $mr_name) {
    defined($mr_name) || define($mr_name, false);
}

unset($CFG);
global $CFG, $DB, $USER, $SESSION;
$CFG = new stdClass();
$CFG->dataroot = getenv('MR_DATAROOT');
$DB = new site_database(json_decode(getenv('MR_DATABASE'), true, 4, JSON_THROW_ON_ERROR));
foreach ($DB->get_records_select('config', '1 = 1', [], '', 'name, value') as $mr_setting) {
    $CFG->{$mr_setting->name} ??= $mr_setting->value;
}
$USER = (object)['id' => 0];
$SESSION = new stdClass();
