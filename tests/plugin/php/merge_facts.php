<?php
// Prints as JSON what Moodle knows of the plugin: capabilities, tasks, web services, strings, settings, tables.
//
//     php merge_facts.php MOODLE_DIR

define('CLI_SCRIPT', true);
require($argv[1] . '/config.php');
require_once($CFG->libdir . '/adminlib.php');

$component = 'local_manireports';
$strings = get_string_manager()->load_component_strings($component, 'en', true, true);
ksort($strings);
\core\session\manager::set_user(get_admin());
$pages = [];
$walk = function ($node) use (&$walk, &$pages) {
    if ($node instanceof admin_category) {
        foreach ($node->get_children() as $child) {
            $walk($child);
        }
    }
    if (str_contains(strtolower($node->name), 'manireports')) {
        $pages[] = $node->name;
    }
};
$walk(admin_get_root(true, true));
sort($pages);
$tables = array_values(array_filter($DB->get_tables(false), fn($name) => str_starts_with($name, 'manireports_')));
sort($tables);
$tasks = $DB->get_fieldset_select('task_scheduled', 'classname', 'component = ? ORDER BY classname', [$component]);
foreach ($tasks as $task) {
    \core\task\manager::get_scheduled_task($task)->get_name();
}
echo json_encode([
    'version' => (int)get_config($component, 'version'),
    'capabilities' => $DB->get_fieldset_select('capabilities', 'name', 'component = ? ORDER BY name', [$component]),
    'tasks' => $tasks,
    'services' => $DB->get_fieldset_select('external_functions', 'name', 'component = ? ORDER BY name', [$component]),
    'strings' => array_keys($strings),
    'pages' => $pages,
    'tables' => $tables,
]);
