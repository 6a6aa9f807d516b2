<?php
// For PHPUnit over the classes of the plugin that need no Moodle.

define('VECTORS', dirname(__DIR__, 3) . '/cloud_workers/contract/vectors');

spl_autoload_register(function (string $class): void {
    $own = 'local_manireports\\';
    if (str_starts_with($class, $own)) {
        require_once(dirname(__DIR__, 3) . '/moodle_plugin/classes/'
            . strtr(substr($class, strlen($own)), '\\', '/') . '.php');
    }
});

/**
 * The cases of a file of golden vectors, by name.
 *
 * @param string $file
 * @param string $of
 */
function vectors(string $file, string $of = 'cases'): array {
    $loaded = json_decode(file_get_contents(VECTORS . "/$file.json"), false, 512, JSON_THROW_ON_ERROR);
    $cases = [];
    foreach ($loaded->$of as $case) {
        $cases[$case->name] = [$case];
    }
    return $cases;
}
