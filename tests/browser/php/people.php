<?php
// Gives the admin and the companies' managers a known password, and no policy or tour in the way.
//
//     php people.php MOODLE_DIR PASSWORD

define('CLI_SCRIPT', true);
require($argv[1] . '/config.php');

set_config('sitepolicy', '');
set_config('iomad_max_select_users', 1000);
foreach ($DB->get_records_select('user', "username = 'admin' OR username LIKE 'boss.%'") as $user) {
    update_internal_user_password($user, $argv[2]);
    unset_user_preference('auth_forcepasswordchange', $user);
}
$DB->set_field('task_scheduled', 'disabled', 0, ['classname' => '\core\task\send_new_user_passwords_task']);
if ($DB->get_manager()->table_exists('tool_usertours_tours')) {
    $DB->set_field('tool_usertours_tours', 'enabled', 0);
}
